"""Keys derived from SECRET_KEY, one for each purpose; indexing, encryption and signatures.

Values made with PREVIOUS_SECRET_KEYS stay valid, so that a key can be replaced without losing data:
old ciphertexts are decrypted, old indexes are found, old signatures are accepted. New values use
the newest key.
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
    """The 32-byte key of one purpose (HKDF-SHA-256, RFC 5869)."""
    return HKDF(SHA256(), 32, salt=None, info=f"zenzefi:{purpose}".encode()).derive(secret.encode())


class Signer:
    """Signs values that browsers store, such as cookies and form fields (HMAC-SHA-256).

    The parts of a value are joined by colons. Only the last part may contain a colon, so that two
    different lists of parts can't have the same signature.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys``: the newest key, and the previous ones after it."""
        self._keys = keys

    def sign(self, *parts: str) -> str:
        """64 hex digits. Raises ``ValueError`` for a colon in a part before the last one."""
        if _is_ambiguous(parts):
            raise ValueError("only the last part of a signed value may contain a colon")
        return _signature(self._keys[0], parts)

    def is_valid(self, signature: str, *parts: str) -> bool:
        """Whether any key made this signature; the comparison takes constant time."""
        if _is_ambiguous(parts):
            return False
        given = signature.encode("utf-8", "surrogatepass")
        return any(
            hmac.compare_digest(given, _signature(key, parts).encode()) for key in self._keys
        )


def _is_ambiguous(parts: Sequence[str]) -> bool:
    return any(":" in part for part in parts[:-1])


def _signature(key: bytes, parts: Sequence[str]) -> str:
    return hmac.digest(key, ":".join(parts).encode("utf-8", "surrogatepass"), "sha256").hex()


class Keyring:
    """Indexes (keyed hashes for look-ups), encryption at rest, and signers."""

    def __init__(self, secret: str, previous: Sequence[str] = ()) -> None:
        self._secrets = (secret, *previous)
        self._keys: dict[str, tuple[bytes, ...]] = {}
        self._fernet = self.fernet("encryption")

    @classmethod
    def of(cls, settings: Settings) -> Keyring:
        """The keyring of a gate with these settings."""
        return cls(
            settings.secret_key.get_secret_value(),
            [key.get_secret_value() for key in settings.previous_secret_keys],
        )

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """The key of one purpose, and the previous ones after it."""
        if purpose not in self._keys:
            self._keys[purpose] = tuple(_derive(one, purpose) for one in self._secrets)
        return self._keys[purpose]

    def signer(self, purpose: str) -> Signer:
        """The signer of one purpose."""
        return Signer(self.keys(purpose))

    def fernet(self, purpose: str) -> MultiFernet:
        """Authenticated encryption for one purpose; decrypts values of previous keys as well."""
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in self.keys(purpose)])

    def index(self, purpose: str, value: str) -> bytes:
        """HMAC-SHA-256 of a secret value under the newest key, stored for look-ups."""
        return hmac.digest(self.keys(purpose)[0], value.encode(), "sha256")

    def indexes(self, purpose: str, value: str) -> list[bytes]:
        """The index under each key, so that rows made with a previous key are found."""
        return [hmac.digest(key, value.encode(), "sha256") for key in self.keys(purpose)]

    def encrypt(self, value: bytes) -> bytes:
        """Encrypt and authenticate (Fernet) with the newest key."""
        return self._fernet.encrypt(value)

    def decrypt(self, value: bytes) -> bytes:
        """The decrypted value. Raises ``LookupError`` if none of the keys made it."""
        try:
            return self._fernet.decrypt(value)
        except InvalidToken:
            raise LookupError(
                "encrypted with a key that is neither SECRET_KEY nor in PREVIOUS_SECRET_KEYS"
            ) from None


KEYRING: web.AppKey[Keyring] = web.AppKey("keyring", Keyring)
