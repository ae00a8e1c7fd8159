"""Backing: the only room of the storage half that touches files, locks and the kernel.

Knows: members (`member`, `file`, `memory`) as a pool sees them, and the blocks that stand on nothing else.
Refuses to know: pools, RAID, what the bytes mean.
"""
