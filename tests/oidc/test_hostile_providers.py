"""Responses of an identity provider that must be rejected: forged, mixed up, huge, slow."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt as pyjwt
import pytest
from aiohttp import web
from joserfc.jwk import RSAKey

from tests.kit.identity_provider import CLIENT_SECRET, Provider, never, running_provider
from zenzefi.oidc.checks import check_provider
from zenzefi.oidc.errors import (
    ProviderSignInCancelled,
    ProviderSignInRejected,
    ProviderUnavailable,
)
from zenzefi.oidc.flow import Flow, ProviderAccount
from zenzefi.oidc.provider import IdentityProvider
from zenzefi.oidc.provider_http import MAX_BODY, ProviderHttp
from zenzefi.settings import load_settings
from zenzefi.settings.sign_in import ProviderOptions

CALLBACK = "http://gate.example/login/with/company/callback"


@pytest.fixture
async def server() -> AsyncIterator[Provider]:
    async with running_provider() as running:
        yield running


@pytest.fixture
async def client(server: Provider) -> AsyncIterator[IdentityProvider]:
    http = ProviderHttp()
    yield IdentityProvider("company", ProviderOptions(**server.options), http, CALLBACK)
    await http.close()


async def sign_in(
    client: IdentityProvider, server: Provider, **changes: str | None
) -> ProviderAccount:
    """The whole flow; ``changes`` replace parameters of the response in the browser."""
    flow = Flow("company", "/account", "")
    query = dict(parse_qsl(urlsplit(server.authorize(await client.begin(flow))).query))
    merged = {**query, **changes}
    return await client.complete(flow, {k: v for k, v in merged.items() if v is not None})


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token with ``alg: none``, in the spelling of the header."""
    parts = [json.dumps(part).encode() for part in (header, claims)]
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


async def test_an_honest_answer_is_accepted(client: IdentityProvider, server: Provider) -> None:
    account = await sign_in(client, server)
    assert account.subject == "248289761001"
    assert account.is_verified


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://another.example"},
        {"iss": None},
        {"aud": "another-client"},
        {"aud": []},
        {"aud": None},
        {"aud": ["gate", "another-client"]},
        {"aud": ["gate", "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"nonce": ["list"]},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"exp": "never"},
        {"iat": 4_000_000_000},
        {"iat": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"at_hash": "AAAA"},
    ],
    ids=str,
)
async def test_an_id_token_with_a_wrong_claim_is_rejected(
    client: IdentityProvider, server: Provider, claims: dict[str, Any]
) -> None:
    server.claims = claims
    with pytest.raises(ProviderSignInRejected) as caught:
        await sign_in(client, server)
    assert caught.value.reason.startswith("ID token:")


@pytest.mark.parametrize("skew", [-50, 50])
async def test_clocks_may_differ_by_less_than_a_minute(
    client: IdentityProvider, server: Provider, skew: int
) -> None:
    now = int(time.time()) + skew
    server.claims = {"iat": now, "nbf": now, "exp": now + 5}
    assert await sign_in(client, server)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
async def test_a_token_without_a_signature_is_rejected(
    client: IdentityProvider, server: Provider, name: str
) -> None:
    server.sign = lambda header, claims: unsigned({**header, "alg": name}, claims)
    server.document = {"id_token_signing_alg_values_supported": ["RS256", "none"]}
    with pytest.raises(ProviderSignInRejected, match=r"sign-in"):
        await sign_in(client, server)


@pytest.mark.parametrize("key", ["public key", "client secret"])
async def test_a_symmetric_signature_is_rejected(
    client: IdentityProvider, server: Provider, key: str
) -> None:
    secret = server.key.as_pem(private=False) if key == "public key" else CLIENT_SECRET.encode()
    head = {"alg": "HS256", "kid": server.key.kid}
    # Written by hand: libraries refuse to sign with a public key.
    import hmac

    def forged(_: dict[str, Any], claims: dict[str, Any]) -> str:
        signed = unsigned(head, claims).removesuffix(".")
        mac = hmac.digest(secret, signed.encode(), "sha256")
        return f"{signed}.{urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    server.sign = forged
    server.document = {"id_token_signing_alg_values_supported": ["RS256", "HS256"]}
    # Not even with a symmetric key among the published ones.
    server.published = [
        server.key.as_dict(private=False),
        {"kty": "oct", "k": urlsafe_b64encode(secret).decode(), "kid": server.key.kid},
    ]
    with pytest.raises(ProviderSignInRejected) as caught:
        await sign_in(client, server)
    assert "HS256" in caught.value.reason


async def test_a_key_in_the_header_is_not_used(client: IdentityProvider, server: Provider) -> None:
    own = RSAKey.generate_key(2048, {"kid": "first"}, private=True)

    def forged(header: dict[str, Any], claims: dict[str, Any]) -> str:
        extra = {"jwk": own.as_dict(private=False), "kid": "first"}
        return pyjwt.encode(claims, own.as_pem(private=True), algorithm="RS256", headers=extra)

    server.sign = forged
    with pytest.raises(ProviderSignInRejected):
        await sign_in(client, server)


async def test_a_replayed_code_is_rejected(client: IdentityProvider, server: Provider) -> None:
    flow = Flow("company", "/account", "")
    query = dict(parse_qsl(urlsplit(server.authorize(await client.begin(flow))).query))
    await client.complete(flow, query)
    with pytest.raises(ProviderSignInRejected) as caught:
        await client.complete(flow, query)
    assert "invalid_grant" in caught.value.reason
    # The code of another sign-in, with the state of this one: PKCE and the nonce are others.
    other = Flow("company", "/account", "")
    stolen = dict(parse_qsl(urlsplit(server.authorize(await client.begin(other))).query))
    with pytest.raises(ProviderSignInRejected):
        await client.complete(flow, {"code": stolen["code"], "state": flow.state})


async def test_a_response_for_another_sign_in_or_issuer_is_rejected(
    client: IdentityProvider, server: Provider
) -> None:
    for changes in (
        {"state": "of another sign-in"},
        {"state": None},
        {"iss": "https://another.example"},
        {"code": None},
        {"code": ""},
        {"code": "x" * 5000},
        {"error": "server_error"},
    ):
        with pytest.raises(ProviderSignInRejected):
            await sign_in(client, server, **changes)
    assert "/token" not in server.seen
    with pytest.raises(ProviderSignInCancelled):
        await sign_in(client, server, error="access_denied")
    # A flow that began with another provider (mix-up, RFC 9207).
    flow = Flow("another", "/account", "")
    with pytest.raises(ProviderSignInRejected):
        await client.complete(flow, {"code": "code", "state": flow.state})


async def test_a_provider_that_names_itself_must_do_so(
    client: IdentityProvider, server: Provider
) -> None:
    server.document = {"authorization_response_iss_parameter_supported": True}
    with pytest.raises(ProviderSignInRejected):
        await sign_in(client, server)
    assert await sign_in(client, server, iss=server.issuer)


async def test_keys_rotate(client: IdentityProvider, server: Provider, monkeypatch: Any) -> None:
    await sign_in(client, server)
    monkeypatch.setattr("zenzefi.oidc.provider.KEY_INTERVAL", 0.0)
    server.rotate()
    assert await sign_in(client, server)
    server.rotate("second")  # another key under the same ID
    assert await sign_in(client, server)
    assert server.seen.count("/keys") == 3


async def test_forged_tokens_cause_few_requests_for_keys(
    client: IdentityProvider, server: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zenzefi.oidc.provider.KEY_INTERVAL", 3600.0)
    await sign_in(client, server)
    server.published = [server.key.as_dict(private=False)]
    server.rotate("forged")
    for _ in range(3):
        with pytest.raises(ProviderSignInRejected):
            await sign_in(client, server)
    assert server.seen.count("/keys") == 1


async def test_userinfo_must_be_of_the_same_person(
    client: IdentityProvider, server: Provider
) -> None:
    server.claims = {"email": None, "email_verified": None}
    assert (await sign_in(client, server)).email == "marta@example.com"

    async def other(_: web.Request) -> web.Response:
        return web.json_response({"sub": "another", "email": "a@b.example", "email_verified": True})

    server.handlers["/userinfo"] = other
    with pytest.raises(ProviderSignInRejected):
        await sign_in(client, server)

    async def other_address(_: web.Request) -> web.Response:
        return web.json_response(
            {**server.person.claims, "email": "own@example.com", "email_verified": True}
        )

    # The verification of one address does not count for another.
    server.claims = {"email": "victim@example.com", "email_verified": None}
    server.handlers["/userinfo"] = other_address
    account = await sign_in(client, server)
    assert account.email == "victim@example.com"
    assert not account.is_verified
    # Not the other way round either.
    server.claims = {"email": None, "email_verified": True}
    server.person.email_verified = False
    del server.handlers["/userinfo"]
    assert not (await sign_in(client, server)).is_verified


async def _redirect(request: web.Request) -> web.Response:
    raise web.HTTPFound("/elsewhere")


async def _huge(request: web.Request) -> web.Response:
    return web.Response(body=b'{"a": "' + b"x" * MAX_BODY + b'"}')


async def _bomb(request: web.Request) -> web.Response:
    response = web.Response(body=b'{"a": "' + b"x" * 100_000 + b'"}')
    response.enable_compression(web.ContentCoding.gzip)
    response.headers["Content-Encoding"] = "gzip"
    return response


async def _deep(request: web.Request) -> web.Response:
    return web.Response(body=b"[" * 100_000)


async def _list(request: web.Request) -> web.Response:
    return web.json_response([])


async def _fails(request: web.Request) -> web.Response:
    return web.json_response({}, status=500)


@pytest.mark.parametrize(
    "handler", [_redirect, _huge, _bomb, _deep, _list, _fails, never], ids=lambda h: h.__name__
)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
async def test_an_unusable_answer_ends_the_sign_in(
    server: Provider, handler: Any, path: str
) -> None:
    http = ProviderHttp(timeout=0.3 if handler is never else 10)
    client = IdentityProvider("company", ProviderOptions(**server.options), http, CALLBACK)
    server.handlers[path] = handler
    try:
        with pytest.raises(ProviderUnavailable):
            await sign_in(client, server)
    finally:
        await http.close()
    assert "/elsewhere" not in server.seen


async def test_after_a_failure_sign_ins_fail_at_once_for_a_while(
    client: IdentityProvider, server: Provider
) -> None:
    server.handlers["/.well-known/openid-configuration"] = _fails
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            await client.metadata()
    assert len(server.seen) == 1


async def test_the_check_reads_metadata_and_keys(server: Provider, tmp_path: Path) -> None:
    settings = load_settings(
        {"data_dir": tmp_path, "oidc_providers": {"company": server.options}, "debug": True}
    )
    found = await check_provider(settings, "company")
    assert found.ok, found.detail
    assert found.detail.endswith("/login/with/company/callback")
    server.published = []
    assert not (await check_provider(settings, "company")).ok
    server.document = {"issuer": "https://another.example"}
    found = await check_provider(settings, "company")
    assert not found.ok
    assert found.is_setting
    server.handlers["/.well-known/openid-configuration"] = _fails
    assert "status 500" in (await check_provider(settings, "company")).detail
