"""The audit log: an append-only record of actions with actor, client, time and request."""
