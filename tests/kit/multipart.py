"""Multipart contents with a parameter ``_method``."""

from __future__ import annotations

MULTIPART = 'multipart/form-data; boundary="x-y"'
NAMED = "Content-Disposition: form-data; name="


def part(head: str, content: str = "DELETE") -> bytes:
    """A multipart content with this part between two others."""
    return (
        '--x-y\r\nContent-Disposition: form-data; name="a"\r\n\r\n_method\r\n'
        f"--x-y\r\n{head}\r\n\r\n{content}\r\n"
        '--x-y\r\nContent-Disposition: form-data; name="file"; filename="_method"\r\n\r\n'
        'name="_method"\r\n\r\nDELETE\r\n--x-y--\r\n'
    ).encode()
