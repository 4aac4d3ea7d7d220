"""Requests as raw bytes, for a gate that would refuse them from any HTTP client."""

from __future__ import annotations

from tests.kit.proxy_gates import TOKEN

HOST = "Host: gate.example"
AUTH = f"X-Access-Token: {TOKEN}"


def raw_request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request with ``Connection: close``; its head in Latin-1."""
    lines = [line, *headers, "Connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
