"""The value of an access token: how one is made, what shape it has, under which keys it is kept."""

from __future__ import annotations

import hashlib
import re
import secrets

from zenzefi.keys import Keyring

_SHAPE = re.compile(r"[A-Za-z0-9_-]{64}")
_PURPOSE = "access-token"
PREFIX_LENGTH = 8


def new_token() -> str:
    """64 URL-safe characters: 384 random bits."""
    return secrets.token_urlsafe(48)


def is_well_formed(token: str) -> bool:
    """Whether this could be a token at all; what could not never leaves the process."""
    return _SHAPE.fullmatch(token) is not None


def index(keyring: Keyring, token: str) -> bytes:
    """What the database finds it by (under the newest key)."""
    return keyring.index(_PURPOSE, token)


def indexes(keyring: Keyring, token: str) -> list[bytes]:
    """What the database may find it by: one index per key in the settings."""
    return keyring.indexes(_PURPOSE, token)


def cache_name(token: str) -> str:
    """The name of its entry in Redis."""
    return f"active_token:{hashlib.sha256(token.encode()).hexdigest()}"
