"""Metrics, logs, the access log and tracing."""
