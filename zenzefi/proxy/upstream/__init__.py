"""Connections to the upstream: the pool, its budget, and exchanges on a connection."""
