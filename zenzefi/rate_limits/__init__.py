"""Rate limits: counters, middleware, device cookies, and which addresses count as one."""
