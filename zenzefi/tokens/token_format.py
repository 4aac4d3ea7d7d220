"""The format of an access token: generation, syntax, and the keys under which it is stored."""

from __future__ import annotations

import hashlib
import re
import secrets

from zenzefi.keys import Keyring

_SHAPE = re.compile(r"[A-Za-z0-9_-]{64}")
_PURPOSE = "access-token"
PREFIX_LENGTH = 8


def new_token() -> str:
    """A new token: 64 URL-safe characters with 384 random bits."""
    return secrets.token_urlsafe(48)


def is_well_formed(token: str) -> bool:
    """Whether ``token`` has the syntax of a token. Others are refused without a look-up."""
    return _SHAPE.fullmatch(token) is not None


def index(keyring: Keyring, token: str) -> bytes:
    """The keyed hash that the database stores, under the newest key of the settings."""
    return keyring.index(_PURPOSE, token)


def indexes(keyring: Keyring, token: str) -> list[bytes]:
    """The keyed hashes that the database may have stored: one for each key of the settings."""
    return keyring.indexes(_PURPOSE, token)


def cache_name(token: str) -> str:
    """The name of the token's entry in Redis. The token itself is not stored there."""
    return f"active_token:{hashlib.sha256(token.encode()).hexdigest()}"
