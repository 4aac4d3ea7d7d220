"""The way through: target, mount, headers, cookies, HTTP, WebSocket."""
