"""Flash messages for the next page: signed, short-lived, shown once.

They are stored in a cookie, so the server keeps no state for visitors who do not come back. The
signature keeps other sites and scripts from showing messages of their choice on the pages.
"""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from typing import Literal

from zenzefi.keys import Signer

Kind = Literal["good", "info", "bad"]

_PURPOSE = "flash"
_LIFE = 60  # seconds
_MAX_LENGTH = 3000  # characters of a cookie


@dataclass(frozen=True, slots=True)
class Flash:
    """One message, already translated."""

    kind: Kind
    text: str


def pack(signer: Signer, flashes: list[Flash]) -> str:
    """Cookie value for the messages."""
    payload = json.dumps([int(time.time()), [[one.kind, one.text] for one in flashes]]).encode()
    body = base64.urlsafe_b64encode(payload).decode()
    return f"{body}.{signer.sign(_PURPOSE, body)}"


def unpack(signer: Signer, cookie: str) -> list[Flash]:
    """Messages of a cookie value; empty if it is too old, too long or has an invalid signature."""
    body, _, signature = cookie.partition(".")
    if len(cookie) > _MAX_LENGTH or not signer.is_valid(signature, _PURPOSE, body):
        return []
    made, flashes = json.loads(base64.urlsafe_b64decode(body))
    if time.time() - made > _LIFE:
        return []
    return [Flash(kind, text) for kind, text in flashes]
