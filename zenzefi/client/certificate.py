"""The agent's own certificate for the loopback address: made on the first start, kept, renewed."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Apple's platforms accept no longer-lived certificate (support.apple.com/103769).
_LIFE = datetime.timedelta(days=820)
_RENEW = datetime.timedelta(days=14)


def server_context(folder: Path) -> tuple[ssl.SSLContext, str]:
    """A TLS context for 127.0.0.1, ::1 and localhost, and the certificate's SHA-256 fingerprint.

    The pair is kept in ``folder``, readable by its owner only. Raises ``OSError`` if it can't be.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "connect.pem"
    certificate = _kept(path) or _made(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(path)
    # WebSockets and the streaming below need HTTP/1.1.
    context.set_alpn_protocols(["http/1.1"])
    return context, certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _kept(path: Path) -> x509.Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
    now = datetime.datetime.now(datetime.UTC)
    return certificate if certificate.not_valid_after_utc - _RENEW > now else None


def _made(path: Path) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Zenzefi agent on this computer")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(hosts, critical=False)
        # Not an authority: if a user trusts it, it must not be able to sign for other sites.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(private + certificate.public_bytes(serialization.Encoding.PEM))
    return certificate
