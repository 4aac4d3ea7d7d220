"""Benchmark of rewriting next to other rewriters: ``python -m bench.rewriting``."""
