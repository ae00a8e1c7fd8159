"""RAID: how a grain lies on the columns of a slot, parity and checksums. Pure: no members, no files, no clocks."""
