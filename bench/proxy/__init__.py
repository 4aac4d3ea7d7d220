"""Benchmark of the proxy next to its peers, in one run: ``python -m bench.proxy``."""
