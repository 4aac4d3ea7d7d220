"""Periodic work on the data of all domains: retention, reconciliation."""
