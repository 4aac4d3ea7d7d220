"""TLS to the upstream: verified unless told otherwise, before a byte of a request is sent."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import ClientConnectionError, ClientPayloadError, ClientSession
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.kit.faulty_upstream import FaultyUpstream, Wire
from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory
from tests.kit.raw_connections import WEBSOCKET_UPGRADE

OK = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\nok"


class Identity(NamedTuple):
    """A server's certificate: its files, and what would pin it."""

    ca_file: Path
    context: ssl.SSLContext
    fingerprint: str


def identity(folder: Path, *, host: str = "127.0.0.1", days: int = 2) -> Identity:
    """A certificate for ``host`` that ends in so many days, and the authority that made it."""
    now = datetime.datetime.now(datetime.UTC)

    def build(
        subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
        )

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        build("test authority", "test authority", ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    certificate = (
        build(host, "test authority", key)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file, chain = folder / f"ca-{host}.pem", folder / f"server-{host}.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    chain.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    return Identity(ca_file, context, certificate.fingerprint(hashes.SHA256()).hex())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return identity(tmp_path_factory.mktemp("good"))


StartTls = Callable[[Identity], Awaitable[FaultyUpstream]]


@pytest.fixture
async def start_tls() -> AsyncIterator[StartTls]:
    servers: list[FaultyUpstream] = []

    async def start(identity: Identity) -> FaultyUpstream:
        server = FaultyUpstream(identity.context)
        await server.start()
        server.always(OK)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


async def test_an_untrusted_certificate_is_502(
    start_gate: GateFactory, start_tls: StartTls, good: Identity
) -> None:
    upstream = await start_tls(good)
    gate = await start_gate(upstream.url)
    assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 502")
    assert (await gate.request(PREFIX + "/s", *WEBSOCKET_UPGRADE)).startswith(b"HTTP/1.1 502")
    assert upstream.heads == []
    assert gate.tokens.activations == []


async def test_without_verification_it_is_accepted(
    start_gate: GateFactory, start_tls: StartTls, good: Identity
) -> None:
    gate = await start_gate((await start_tls(good)).url, zenzefi_verify_ssl=False)
    assert (await gate.request(PREFIX + "/x")).endswith(b"ok")


async def test_a_private_certificate_authority_is_accepted(
    start_gate: GateFactory, start_tls: StartTls, good: Identity
) -> None:
    gate = await start_gate((await start_tls(good)).url, zenzefi_ca_file=good.ca_file)
    for _ in range(2):
        assert (await gate.request(PREFIX + "/x")).endswith(b"ok")


@pytest.mark.parametrize(
    "wrong", [{"host": "elsewhere.test"}, {"days": -1}], ids=["another name", "expired"]
)
async def test_a_certificate_of_the_authority_must_be_for_this_host_and_now(
    start_gate: GateFactory,
    start_tls: StartTls,
    tmp_path: Path,
    wrong: dict[str, int] | dict[str, str],
) -> None:
    other = identity(tmp_path, **wrong)
    upstream = await start_tls(other)
    gate = await start_gate(upstream.url, zenzefi_ca_file=other.ca_file)
    assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 502")
    assert upstream.heads == []


async def test_a_pinned_certificate_replaces_the_chain_of_trust(
    start_gate: GateFactory, start_tls: StartTls, good: Identity, tmp_path: Path
) -> None:
    upstream = await start_tls(good)
    gate = await start_gate(upstream.url, zenzefi_pinned_sha256=good.fingerprint)
    assert (await gate.request(PREFIX + "/x")).endswith(b"ok")
    # Another one is refused, even from an authority that is trusted.
    impostor = await start_tls(identity(tmp_path))
    gate = await start_gate(impostor.url, zenzefi_pinned_sha256=good.fingerprint)
    assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 502")
    assert (await gate.request(PREFIX + "/s", *WEBSOCKET_UPGRADE)).startswith(b"HTTP/1.1 502")
    assert impostor.heads == []


async def test_a_tls_handshake_that_never_ends_is_504(
    start_gate: GateFactory, faulty: FaultyUpstream
) -> None:
    """An upstream that speaks no TLS waits for the end of what it takes for a head."""
    url = faulty.url.replace("http:", "https:")
    gate = await start_gate(url, zenzefi_verify_ssl=False, upstream_connect_timeout=0.3)
    assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 504")


async def test_a_large_body_and_a_websocket_pass_over_tls(
    start_gate: GateFactory, start_tls: StartTls, good: Identity, client: ClientSession
) -> None:
    async def script(wire: Wire) -> None:
        if b"Upgrade" not in wire.head:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5000000\r\n\r\n"
            await wire.send(head + b"z" * 5_000_000)
            return
        await wire.send(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi"
        )
        assert len(await wire.reader.readexactly(6 + 4)) == 10
        await wire.send(b"\x88\x02\x03\xe8")

    upstream = await start_tls(good)
    upstream.script = script
    gate = await start_gate(upstream.url, zenzefi_ca_file=good.ca_file)
    async with client.get(gate.proxy_url + "/large") as response:
        assert len(await response.read()) == 5_000_000
    lines = [f"GET {PREFIX}/s HTTP/1.1", "Host: h", f"X-Access-Token: {TOKEN}", *WEBSOCKET_UPGRADE]
    frame = b"\x81\x84\0\0\0\0ping"
    raw = await gate.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + frame, timeout=5)
    assert raw.endswith(b"\r\n\r\n\x81\x02hi\x88\x02\x03\xe8")


@pytest.mark.parametrize("size", [0, 2_000_000])
async def test_a_truncated_tls_connection_does_not_end_a_body(
    start_gate: GateFactory, start_tls: StartTls, good: Identity, client: ClientSession, size: int
) -> None:
    """Without TLS's own goodbye the end of the connection proves nothing (RFC 9112, 9.8)."""

    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n\r\npart" + b"z" * size)
        await asyncio.sleep(0.1)
        wire.writer.transport.abort()

    upstream = await start_tls(good)
    upstream.script = script
    gate = await start_gate(upstream.url, zenzefi_ca_file=good.ca_file)
    async with asyncio.timeout(5):
        with pytest.raises((ClientPayloadError, ClientConnectionError)):
            async with client.get(gate.proxy_url + "/x") as response:
                await response.read()
