"""What a userspace host is made of: interfaces, neighbours, and the codecs of ARP, ND, IPv4, IPv6, ICMP and UDP.

And a DHCP server (dhcp, leases, dhcp_wire), which such a host does not have.

Knows: bytes and `now`. Refuses to know: sockets, clocks, threads, processes. `netvirt.host.Host` puts the parts
together; other rooms import that, and nothing from here but netvirt.hosting.dhcp.
"""
