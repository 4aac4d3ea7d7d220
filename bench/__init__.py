"""Benchmarks that users can repeat on their own machines (``make bench``)."""
