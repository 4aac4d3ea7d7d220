"""Keys derived from SECRET_KEY, one for each purpose; indexing, encryption and signatures.

Only SECRET_KEY makes new values: it is the *issuing* key. Values made with one of the other
*accepted* keys are valid as well: their ciphertexts are decrypted, their indexes are found, their
signatures are accepted. PREVIOUS_SECRET_KEYS are accepted after a rotation. NEXT_SECRET_KEY is
accepted before it, so that a node can read what another node already makes with the new key.
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
        """``keys``: the issuing key, and the other accepted ones after it."""
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

    def __init__(self, secret: str, others: Sequence[str] = ()) -> None:
        """``secret`` is the issuing key, ``others`` are accepted too."""
        self._secrets = tuple(dict.fromkeys((secret, *others)))
        self._keys: dict[str, tuple[bytes, ...]] = {}
        self._fernet = self.fernet("encryption")

    @classmethod
    def of(cls, settings: Settings) -> Keyring:
        """The keyring of a gate with these settings."""
        others = list(settings.previous_secret_keys)
        if settings.next_secret_key is not None:
            others.append(settings.next_secret_key)
        return cls(
            settings.secret_key.get_secret_value(), [key.get_secret_value() for key in others]
        )

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """8 hex digits for each accepted key, the issuing one first; they do not reveal the key."""
        return tuple(_derive(one, "fingerprint")[:4].hex() for one in self._secrets)

    def keys(self, purpose: str) -> tuple[bytes, ...]:
        """The issuing key of one purpose, and the other accepted ones after it."""
        if purpose not in self._keys:
            self._keys[purpose] = tuple(_derive(one, purpose) for one in self._secrets)
        return self._keys[purpose]

    def signer(self, purpose: str) -> Signer:
        """The signer of one purpose."""
        return Signer(self.keys(purpose))

    def fernet(self, purpose: str) -> MultiFernet:
        """Authenticated encryption for one purpose; decrypts values of all accepted keys."""
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in self.keys(purpose)])

    def index(self, purpose: str, value: str) -> bytes:
        """HMAC-SHA-256 of a secret value under the issuing key, stored for look-ups."""
        return hmac.digest(self.keys(purpose)[0], value.encode(), "sha256")

    def indexes(self, purpose: str, value: str) -> list[bytes]:
        """The index under each accepted key, the issuing one first, to find all rows."""
        return [hmac.digest(key, value.encode(), "sha256") for key in self.keys(purpose)]

    def encrypt(self, value: bytes) -> bytes:
        """Encrypt and authenticate (Fernet) with the issuing key."""
        return self._fernet.encrypt(value)

    def decrypt(self, value: bytes) -> bytes:
        """The decrypted value. Raises ``LookupError`` if none of the keys made it."""
        try:
            return self._fernet.decrypt(value)
        except InvalidToken:
            raise LookupError(
                "encrypted with a key that is neither SECRET_KEY, PREVIOUS_SECRET_KEYS nor "
                "NEXT_SECRET_KEY"
            ) from None


KEYRING: web.AppKey[Keyring] = web.AppKey("keyring", Keyring)
