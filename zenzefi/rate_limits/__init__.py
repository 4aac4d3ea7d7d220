"""Rate limits: the counters, the middleware that asks them, device cookies."""
