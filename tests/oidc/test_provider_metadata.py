"""Discovery documents, published keys, the state of a sign-in, and the setting OIDC_PROVIDERS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from zenzefi.oidc.flow import Flow, ProviderAccount, account_of, pack, unpack
from zenzefi.oidc.metadata import InvalidMetadata, parse_metadata
from zenzefi.oidc.signed_tokens import usable_keys
from zenzefi.settings import SettingsError, load_settings
from zenzefi.settings.sign_in import is_provider_url

DOCUMENT = {
    "issuer": "https://id.example",
    "authorization_endpoint": "https://id.example/authorize",
    "token_endpoint": "https://id.example/token",
    "jwks_uri": "https://id.example/keys",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://id.example/"},
        {"issuer": "https://another.example"},
        {"token_endpoint": "http://id.example/token"},
        {"token_endpoint": "http://127.0.0.1/token"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": None},
        {"jwks_uri": ["https://id.example/keys"]},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "https://user:secret@id.example/"},
        {"userinfo_endpoint": "http://id.example/userinfo"},
        {"end_session_endpoint": "data:text/html,x"},
        {"code_challenge_methods_supported": ["plain"]},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"id_token_signing_alg_values_supported": "RS256"},
    ],
    ids=str,
)
def test_a_discovery_document_that_misleads_is_rejected(changes: dict[str, Any]) -> None:
    assert parse_metadata(DOCUMENT, "https://id.example").algorithms == ("RS256",)
    with pytest.raises(InvalidMetadata):
        parse_metadata({**DOCUMENT, **changes}, "https://id.example")


def test_keys_that_are_weak_or_not_for_signatures_are_ignored(server_key: RSAKey) -> None:
    good = server_key.as_dict(private=False)
    assert len(usable_keys({"keys": [good]})) == 1
    for bad in (
        {**good, "use": "enc"},
        {**good, "n": "!"},
        {**good, "n": good["n"][:170]},  # 1020 bits
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA"},
        "text",
        None,
    ):
        assert usable_keys({"keys": [bad]}) == []
    assert usable_keys({"keys": "all"}) == []
    assert len(usable_keys({"keys": [good] * 1000})) == 50


@pytest.fixture(scope="module")
def server_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"use": "sig"}, private=True)


def test_flows_expire_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Flow("company", "/account", "") for _ in range(9)]
    assert unpack(pack(many)) == many[-3:]
    monkeypatch.setattr(time, "time", lambda: many[0].begun + 601)
    assert unpack(pack(many)) == []


def test_claims_of_other_types_are_ignored() -> None:
    claims = {"sub": "1", "email": ["a@b.example"], "name": 7, "preferred_username": "a\nb"}
    account = account_of("company", "https://id.example", claims, trust_email=True)
    assert account == ProviderAccount("company", "https://id.example", "1")
    assert ProviderAccount.from_json(account.to_json()) == account


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://id.example", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]:8080", True),
        ("http://id.example", False),
        ("http://localhost.id.example", False),
        ("https://id.example:port", False),
        ("https://a@id.example", False),
        ("https://id.example#x", False),
        ("https://", False),
        ("ftp://id.example", False),
    ],
)
def test_the_gate_contacts_providers_over_https_only(url: str, is_allowed: bool) -> None:
    assert is_provider_url(url) is is_allowed


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ('{"company": {"issuer": "http://id.example", "client_id": "gate"}}', "https://"),
        ('{"Company!": {"issuer": "https://id.example", "client_id": "gate"}}', "not a name"),
        ('{"company": {"issuer": "https://id.example"}}', "client_id"),
        ('{"company": {"issuer": "https://id.example", "client_id": "g", "typo": 1}}', "typo"),
        ('{"company": {"issuer": "https://id.example", "client_id": "g", "scopes": []}}', "openid"),
        ("[]", "object"),
        ("{", "object"),
    ],
)
def test_a_mistake_in_the_providers_is_reported(
    value: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OIDC_PROVIDERS", value)
    with pytest.raises(SettingsError) as caught:
        load_settings({"data_dir": tmp_path})
    assert "OIDC_PROVIDERS" in str(caught.value.problems)
    assert told in str(caught.value.problems)


def test_providers_that_contradict_each_other_are_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no user could sign in"):
        load_settings({"data_dir": tmp_path, "password_sign_in": False})
    one = {"issuer": "https://id.example", "client_id": "gate"}
    with pytest.raises(SettingsError, match="the same issuer"):
        load_settings({"data_dir": tmp_path, "oidc_providers": {"a": one, "b": one}})
