"""The reverse proxy: mount, headers, cookies, HTTP, WebSocket."""
