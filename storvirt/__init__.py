"""The storage half of virtfab: pools of backing files, RAID, thin volumes, LUNs. Usable without any daemon."""
