"""Plugins: their API, loading, checks, hooks and the watchdog."""
