"""What ``zenzefi plugin try`` works on: a URL or a file, and the options and headers for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zenzefi.commands.common import Exit, fail
from zenzefi.http_syntax import TOKEN

_LARGEST = 16 * 1024 * 1024
_TYPES = {
    ".html": "text/html",
    ".htm": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".xml": "application/xml",
    ".rss": "application/rss+xml",
    ".atom": "application/atom+xml",
    ".svg": "image/svg+xml",
    ".xhtml": "application/xhtml+xml",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".mpd": "application/dash+xml",
}


def option_of(text: str) -> tuple[str, Any]:
    """Name and value of an option on the command line; the value is JSON or text."""
    key, equals, value = text.partition("=")
    if not equals:
        fail(f"--option {text!r} is not KEY=VALUE.", Exit.USAGE)
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def asked_of(headers: Sequence[str], cookies: Sequence[str]) -> dict[str, str]:
    """The headers of the request."""
    asked = {}
    for text in headers:
        name, equals, value = text.partition("=")
        if not equals or not TOKEN.fullmatch(name) or not value.isprintable():
            fail(f"--header {text!r} is not NAME=VALUE.", Exit.USAGE)
        asked[name] = value
    if cookies:
        asked["Cookie"] = "; ".join(cookies)
    return asked


def fetch(source: str, headers: Mapping[str, str]) -> tuple[bytes, str, str]:
    """``(body, content type, URL)`` of a URL or a file."""
    if re.match(r"https?://", source):
        import urllib.error
        import urllib.request

        try:
            request = urllib.request.Request(source, headers=dict(headers))  # noqa: S310 - as below
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - http(s) only, checked above
                body = response.read(_LARGEST + 1)
                content_type = response.headers.get("Content-Type", "")
        except (urllib.error.URLError, OSError) as error:
            fail(f"{source} can't be read: {error}.", Exit.UNAVAILABLE)
        if len(body) > _LARGEST:
            fail(f"{source} is larger than {_LARGEST} bytes.")
        parts = urlsplit(source)
        return body, content_type, f"{source}{'' if parts.path else '/'}"
    path = Path(source)
    try:
        body = path.read_bytes()
    except OSError as error:
        fail(f"{source} can't be read: {error.strerror}.", Exit.USAGE)
    return body, _TYPES.get(path.suffix.lower(), "text/plain"), f"https://app.example/{path.name}"
