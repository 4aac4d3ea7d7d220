"""The side toward the browser: the connection that sends responses, and what it sends."""
