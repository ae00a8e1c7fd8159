"""NBD, the server's half: what stord speaks with QEMU, the Linux kernel, libnbd and fio.

`wire` has the numbers, `handshake` the negotiation, `session` and `output` (compiled) the transmission phase in bursts,
`execute` the plain way to serve any Block, `server` the one room with sockets.
"""
