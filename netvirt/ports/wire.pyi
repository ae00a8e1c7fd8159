class Wire:
    """Frames between one descriptor and bursts; tap_io.TapIo and packet_io.PacketIo are such."""
