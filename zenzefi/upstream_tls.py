"""How the upstream's certificate is verified: for proxied requests and for health checks."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from dataclasses import dataclass

from zenzefi.settings import Settings


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """The TLS context for the upstream, and the SHA-256 of its pinned certificate, if any."""

    context: ssl.SSLContext
    pin: bytes | None = None

    @classmethod
    def of(cls, settings: Settings) -> UpstreamTls:
        """The verification that the settings ask for.

        Certificates are verified by default. A pinned certificate replaces the chain of trust.
        Raises ``OSError`` for an unusable CA file.
        """
        ca_file, pinned = settings.zenzefi_ca_file, settings.zenzefi_pinned_sha256
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        if pinned or not settings.zenzefi_verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return cls(context, bytes.fromhex(pinned) if pinned else None)

    def is_accepted(self, transport: asyncio.BaseTransport) -> bool:
        """Whether the certificate of an open connection is the pinned one, if one is pinned."""
        if self.pin is None:
            return True
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hmac.compare_digest(hashlib.sha256(certificate or b"").digest(), self.pin)
