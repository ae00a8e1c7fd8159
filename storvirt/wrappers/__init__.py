"""Wrappers in nbdkit's manner: each is a Block before a Block, does one thing, and passes the rest straight through.

Knows: the Block interface. Refuses to know: what is below, clocks and dice (both are handed in).
"""
