"""Messages for the next page: signed, short-lived, shown once.

A cookie carries them, so that no page has to be kept for somebody who never comes back; the
signature keeps others from putting words into the gate's mouth.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Literal

Kind = Literal["good", "info", "bad"]

_LIFE = 60  # seconds
_LONGEST = 3000  # characters of a cookie


@dataclass(frozen=True, slots=True)
class Flash:
    """One message, already in the reader's language."""

    kind: Kind
    text: str


def pack(key: bytes, flashes: list[Flash]) -> str:
    """The cookie's value."""
    payload = json.dumps([int(time.time()), [[one.kind, one.text] for one in flashes]]).encode()
    body = base64.urlsafe_b64encode(payload).decode()
    return f"{body}.{_sign(key, body)}"


def unpack(key: bytes, cookie: str) -> list[Flash]:
    """The messages of a cookie; none when it is too old, too long or not ours."""
    body, _, signature = cookie.partition(".")
    if len(cookie) > _LONGEST or not hmac.compare_digest(
        signature.encode(), _sign(key, body).encode()
    ):
        return []
    made, flashes = json.loads(base64.urlsafe_b64decode(body))
    if time.time() - made > _LIFE:
        return []
    return [Flash(kind, text) for kind, text in flashes]


def _sign(key: bytes, body: str) -> str:
    return hmac.new(key, b"flash:" + body.encode(), hashlib.sha256).hexdigest()
