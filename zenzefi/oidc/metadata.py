"""The metadata of an identity provider (OpenID Connect Discovery 1.0, 3 and 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from zenzefi.settings.sign_in import is_provider_url

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signature algorithms that the gate accepts. All are asymmetric: with a symmetric one, the public
key or the client secret could sign ID tokens; ``none`` has no signature."""


class InvalidMetadata(ValueError):
    """A discovery document that the gate can't use; the text says why."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The parts of a discovery document that the gate uses."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    sends_secret_in_form: bool
    """Whether the client secret is sent as ``client_secret_post``, not ``client_secret_basic``."""
    names_issuer: bool
    """Whether authorization responses contain ``iss`` (RFC 9207, 3)."""
    algorithms: tuple[str, ...]


def discovery_url(issuer: str) -> str:
    """The URL of the discovery document (Discovery, 4.1)."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def parse_metadata(document: Mapping[str, Any], issuer: str) -> Metadata:
    """Check a discovery document of the provider that the operator calls ``issuer``.

    Raises :class:`InvalidMetadata`.
    """
    if document.get("issuer") != issuer:  # Discovery, 4.3: exactly equal
        raise InvalidMetadata(f"the document names the issuer {document.get('issuer')!r}")
    methods = document.get("code_challenge_methods_supported")
    if isinstance(methods, list) and methods and "S256" not in methods:
        raise InvalidMetadata("the provider does not support PKCE with S256")
    authentication = document.get("token_endpoint_auth_methods_supported")
    offered = document.get("id_token_signing_alg_values_supported", ["RS256"])
    if not isinstance(offered, list):
        raise InvalidMetadata("id_token_signing_alg_values_supported is not a list")
    algorithms = tuple(name for name in ALGORITHMS if name in offered)
    if not algorithms:
        raise InvalidMetadata("the provider supports no signature algorithm that the gate accepts")
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_endpoint(document, "authorization_endpoint", issuer),
        token_endpoint=_endpoint(document, "token_endpoint", issuer),
        jwks_uri=_endpoint(document, "jwks_uri", issuer),
        userinfo_endpoint=_optional(document, "userinfo_endpoint", issuer),
        end_session_endpoint=_optional(document, "end_session_endpoint", issuer),
        sends_secret_in_form=(
            isinstance(authentication, list)
            and "client_secret_basic" not in authentication
            and "client_secret_post" in authentication
        ),
        names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
        algorithms=algorithms,
    )


def _optional(document: Mapping[str, Any], name: str, issuer: str) -> str | None:
    return None if document.get(name) is None else _endpoint(document, name, issuer)


def _endpoint(document: Mapping[str, Any], name: str, issuer: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or len(value) > 2000 or not is_provider_url(value):
        raise InvalidMetadata(f"{name} is not an https:// URL")
    if urlsplit(issuer).scheme == "https" and urlsplit(value).scheme != "https":
        raise InvalidMetadata(f"{name} is not an https:// URL")  # not even on loopback
    return value
