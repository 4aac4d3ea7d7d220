"""Benchmarks: figures that anyone can produce again on their own machine (``make bench``)."""
