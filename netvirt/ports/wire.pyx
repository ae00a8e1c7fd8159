"""The base of the compiled drivers that a shortcut can serve (see wire.pxd). Knows nothing but its structure."""


cdef class Wire:
    """Frames between one descriptor and bursts; tap_io.TapIo and packet_io.PacketIo are such."""
