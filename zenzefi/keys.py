"""Keys for what is kept at rest: all derived from SECRET_KEY, each for one purpose.

PREVIOUS_SECRET_KEYS stay readable, so that a key can be replaced without losing anything: what they
encrypted is decrypted, what they indexed is found; new rows use the newest key.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

from aiohttp import web
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from zenzefi.settings import Settings


def _derive(secret: str, purpose: str) -> bytes:
    """32 bytes for one purpose (HKDF, RFC 5869)."""
    return HKDF(SHA256(), 32, salt=None, info=f"zenzefi:{purpose}".encode()).derive(secret.encode())


class Keyring:
    """Indexes (keyed hashes for look-up), encryption at rest, and signing keys."""

    def __init__(self, secret: str, previous: Sequence[str] = ()) -> None:
        self._secrets = (secret, *previous)
        self._index_keys: dict[str, tuple[bytes, ...]] = {}
        self._fernet = MultiFernet(
            [Fernet(base64.urlsafe_b64encode(_derive(one, "encryption"))) for one in self._secrets]
        )

    @classmethod
    def of(cls, settings: Settings) -> Keyring:
        """The keyring of one gate."""
        return cls(
            settings.secret_key.get_secret_value(),
            [key.get_secret_value() for key in settings.previous_secret_keys],
        )

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """The key for one purpose, and the previous ones after it."""
        if purpose not in self._index_keys:
            self._index_keys[purpose] = tuple(_derive(one, purpose) for one in self._secrets)
        return self._index_keys[purpose]

    def index(self, purpose: str, value: str) -> bytes:
        """HMAC-SHA-256 of a secret value under the newest key: what the database looks up."""
        return hmac.digest(self.keys(purpose)[0], value.encode(), "sha256")

    def indexes(self, purpose: str, value: str) -> list[bytes]:
        """The index under every key that may have been in use when the row was made."""
        return [hmac.digest(key, value.encode(), "sha256") for key in self.keys(purpose)]

    def encrypt(self, value: bytes) -> bytes:
        """Encrypted and authenticated (Fernet) under the newest key."""
        return self._fernet.encrypt(value)

    def decrypt(self, value: bytes) -> bytes:
        """The value; raises ``LookupError`` when no key in the settings fits."""
        try:
            return self._fernet.decrypt(value)
        except InvalidToken:
            raise LookupError(
                "encrypted under a key that is neither SECRET_KEY nor in PREVIOUS_SECRET_KEYS"
            ) from None


KEYRING: web.AppKey[Keyring] = web.AppKey("keyring", Keyring)
