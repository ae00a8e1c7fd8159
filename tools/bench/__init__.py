"""Benchmarks: one file per family of rows. They measure and print; nothing here is asserted."""
