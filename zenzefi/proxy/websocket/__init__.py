"""WebSockets through the gate: handshake, relay, frames, messages, rate limit."""
