"""Volumes: map pages and thin space. Pure above the pool: no files, no sockets, no clocks."""
