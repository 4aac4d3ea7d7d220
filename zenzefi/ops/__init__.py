"""Health, metrics, logs, periodic jobs, drain."""
