"""Connections to the upstream: the pool, its budget, one exchange on a connection."""
