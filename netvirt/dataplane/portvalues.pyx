"""A port's settings, as Python says them, into the port's fields.

Knows: each setting's field, and that nothing is changed by a setting that can't be. Refuses to know: modes (netvirt/modes.py
made plain tables of them), other ports, stations.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset

from netvirt.dataplane.tables cimport (KINDS, LARGEST_MTU, MVRP_BIT, NO_TAG, VID_WORDS, VIDS, bit, bucket_t, port_t,
                                       set_bit, tables_free_port)

# In the order of the numbers in tables.pxd.
STATES = ("disabled", "blocked", "forwarding")
FLOODED = ("unicast", "multicast", "broadcast")
PRIORITY_TAGS = ("never", "if-nonzero", "always")
ON_LIMIT = ("flood", "drop", "shutdown")


cdef int _index(tuple words, word, str what) except -1:
    if word not in words:
        raise ValueError(f"unknown {what} {word!r}; there are {', '.join(words)}")
    return words.index(word)


cdef int fill_vids(uint64_t *bitmap, vids) except -1:
    memset(bitmap, 0, VID_WORDS * 8)
    for vid in vids:
        if not 1 <= vid <= 4094:
            raise ValueError(f"VID {vid} is not 1 to 4094")
        set_bit(bitmap, vid, True)
    return 0


cdef void *_new(size_t size) except NULL:
    cdef void *p = calloc(1, size)
    if p == NULL:
        raise MemoryError()
    return p


cdef int _fill_vlans(port_t *new, dict settings) except -1:
    pvid = settings["pvid"]
    if not 0 <= pvid <= 4094 or not 0 <= settings["priority"] <= 7:
        raise ValueError("a PVID is 0 to 4094, a priority 0 to 7")
    fill_vids(new.member, settings["member"])
    fill_vids(new.untagged, settings["untagged"])
    admit = settings["admit"]
    fill_vids(new.admit, settings["member"] if admit is None else admit)
    if pvid and not bit(new.admit, pvid):
        raise ValueError(f"the port's own VLAN {pvid} is not among its VLANs")
    new.pvid = pvid
    new.tci = settings["priority"] << 13
    return 0


cdef int _fill_plain(port_t *new, dict settings) except -1:
    if not 0 <= settings["mtu"] <= LARGEST_MTU:      # with both tags it would be longer than a burst can say
        raise ValueError(f"an MTU is at most {LARGEST_MTU}, not {settings['mtu']}")
    if settings["tpid"] not in (0x8100, 0x88A8):
        raise ValueError(f"a tag's type is 0x8100 or 0x88a8, not {settings['tpid']:#x}")
    new.state = _index(STATES, settings["state"], "port state")
    new.mtu = settings["mtu"]
    new.tpid = settings["tpid"]
    new.takes = <uint32_t>NO_TAG if settings["dot1q_tunnel"] else <uint32_t>new.tpid
    new.takes_tagged = settings["takes_tagged"]
    new.takes_untagged = settings["takes_untagged"]
    new.priority_tags = _index(PRIORITY_TAGS, settings["priority_tags"], "kind of priority tags")
    new.on_limit = _index(ON_LIMIT, settings["on_limit"], "answer to a limit")
    new.protected_ = bool(settings["protected"])
    new.flood = 0
    for kind in settings["flood"]:
        new.flood |= <uint8_t>(1 << _index(FLOODED, kind, "kind of flooded frames"))
    new.peer = _octets(settings["peer"])
    new.tunnel = _octets(settings["tunnel"])
    return 0


cdef uint32_t _octets(octets) except? 0xFFFFFFFF:
    cdef uint32_t bits = 0
    for octet in octets:
        if not (0 <= octet < 16 or octet == 0x21):
            raise ValueError(f"01-80-C2-00-00-{octet:02X} is no reserved address")
        bits |= <uint32_t>1 << (MVRP_BIT if octet == 0x21 else octet)
    return bits


cdef int _fill_translation(port_t *new, pairs) except -1:
    cdef uint32_t v
    if not pairs:
        return 0
    new.inside = <uint16_t *>_new(VIDS * 2)
    new.wire = <uint16_t *>_new(VIDS * 2)
    for v in range(1, 4095):
        new.inside[v] = new.wire[v] = <uint16_t>v
    for _, inside in pairs:
        new.inside[inside] = 0             # unless it is the wire VID of another pair
    for wire, inside in pairs:
        new.inside[wire] = inside
        new.wire[inside] = wire
    return 0


cdef int _fill_storm(port_t *new, const port_t *old, storm) except -1:
    cdef bucket_t *bucket
    cdef uint64_t least
    if not storm:
        return 0
    new.storm = <bucket_t *>_new(KINDS * sizeof(bucket_t))
    for kind, rate, unit in storm:
        number = _index(FLOODED, kind, "kind of flooded frames")
        bucket = &new.storm[<int>number]
        if not 1 <= rate <= 10**11:
            raise ValueError(f"a storm limit is 1 to {10**11}, not {rate}")
        bucket.rate = rate
        bucket.bits = _index(("fps", "bps"), unit, "unit")
        least = <uint64_t>8000000000 * (new.mtu + 18) if bucket.bits else <uint64_t>1000000000
        bucket.most = max(bucket.rate * 100000000, least)
        bucket.credit = bucket.most
    if old.storm != NULL and old.mtu == new.mtu and _same_limits(new.storm, old.storm):
        memcpy(new.storm, old.storm, KINDS * sizeof(bucket_t))
    return 0


cdef bint _same_limits(const bucket_t *one, const bucket_t *other) noexcept:
    cdef int i
    for i in range(KINDS):
        if one[i].rate != other[i].rate or one[i].bits != other[i].bits:
            return False
    return True


cdef list storm_levels(const port_t *port):
    cdef int i
    return [] if port.storm == NULL else [(port.storm[i].credit, port.storm[i].at) for i in range(KINDS)]


cdef int set_storm_levels(port_t *port, levels) except -1:
    cdef uint64_t credit, at
    if port.storm == NULL or len(levels) != KINDS:
        raise ValueError(f"{len(levels)} levels are not those of this port's storm control")
    for i, (credit, at) in enumerate(levels):
        port.storm[<int>i].credit = min(credit, port.storm[<int>i].most)
        port.storm[<int>i].at = at
    return 0


cdef int _fill_customer(port_t *new, customer) except -1:
    if not customer:
        return 0
    new.customer = <uint64_t *>_new(VID_WORDS * 8)
    for vid in customer:
        if not 0 <= vid <= 4094:
            raise ValueError(f"customer VID {vid} is not 0 to 4094")
        set_bit(new.customer, vid, True)
    return 0


cdef int fill_port(port_t *new, const port_t *old, dict settings) except -1:
    new[0] = old[0]
    new.inside = new.wire = NULL
    new.storm = NULL
    new.customer = NULL
    try:
        _fill_vlans(new, settings)
        _fill_plain(new, settings)
        _fill_translation(new, settings["translate"])
        _fill_storm(new, old, settings["storm"])
        _fill_customer(new, settings["customer"])
    except BaseException:
        tables_free_port(new)
        raise
    return 0
