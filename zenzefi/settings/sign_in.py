"""Settings of sign-in: identity providers (OpenID Connect), and whether passwords are accepted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode

from zenzefi.settings.own_origin import is_loopback

MAX_PROVIDERS = 10
_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


def is_provider_url(value: str) -> bool:
    """Whether the gate may contact an identity provider at this URL: HTTPS, or HTTP on loopback."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return False
    if parts.username is not None or parts.fragment or not parts.hostname:
        return False
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _issuer(value: str) -> str:
    if not is_provider_url(value) or "?" in value:
        raise ValueError("must be an https:// URL without query (http:// on loopback only)")
    return value


def _scopes(values: list[str]) -> list[str]:
    if "openid" not in values:
        raise ValueError("must contain openid")
    return values


class ProviderOptions(BaseModel):
    """One identity provider. Its endpoints and keys are discovered from ``issuer``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    issuer: Annotated[str, AfterValidator(_issuer), Field(max_length=500)]
    """The issuer URL, exactly as the provider names it."""
    client_id: Annotated[str, Field(min_length=1, max_length=500)]
    """The ID with which the gate is registered at the provider."""
    client_secret: SecretStr | None = None
    """Its secret; without one the gate is a public client."""
    title: Annotated[str, Field(max_length=60)] = ""
    """The name on the button; the name in the setting if it is empty."""
    scopes: Annotated[list[str], AfterValidator(_scopes)] = ["openid", "email", "profile"]
    """The OAuth scopes to request."""
    trust_email: bool = False
    """Take addresses for verified if the provider sends no ``email_verified``."""
    groups_claim: Annotated[str, Field(pattern=r"^[^.]{1,100}(?:\.[^.]{1,100}){0,4}$")] = "groups"
    """The claim with the groups of a person; dots lead into objects (``realm_access.roles``)."""
    admin_groups: list[str] = []
    """Members of one of these groups are administrators, others are not. Empty: no effect."""
    group_scopes: dict[str, list[str]] = {}
    """Scopes that the members of a group can buy. Empty: all scopes."""
    trust_second_factor: bool = False
    """A sign-in whose ``amr`` contains ``mfa`` (RFC 8176, 2) counts as two-step sign-in."""
    end_connections: bool = False
    """When a person signs out at the provider: close what programs have open under the tokens of
    the user, too."""
    create_accounts: bool | None = None
    """Create an account at the first sign-in of a person without one; by default only while
    ``REGISTRATION`` is ``open``."""


def _providers(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"must be a JSON object ({error})") from None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    for name in value:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name like 'company': letters a-z, digits, hyphens")
    if len(value) > MAX_PROVIDERS:
        raise ValueError(f"has more than {MAX_PROVIDERS} providers")
    return value


ProvidersByName = Annotated[dict[str, ProviderOptions], NoDecode, BeforeValidator(_providers)]


class SignInSettings(BaseSettings):
    """Sign-in."""

    oidc_providers: ProvidersByName = Field(
        {},
        description="JSON object of identity providers (OpenID Connect) by name: "
        '`{"company": {"issuer": "https://id.example.com", "client_id": "gate", "client_secret": '
        '"..."}}`. [Sign in with an identity provider](../how-to/sign-in-with-a-provider.md) '
        "describes the options. Needs the extra `oidc`.",
    )
    password_sign_in: bool = Field(
        True,
        description="`false`: users sign in with an identity provider only. Forms and calls for "
        "passwords and registration are refused.",
    )


def sign_in_conflicts(settings: SignInSettings) -> Iterator[tuple[set[str], str]]:
    """Conflicts among the settings of sign-in."""
    if not settings.password_sign_in and not settings.oidc_providers:
        yield (
            {"password_sign_in", "oidc_providers"},
            "PASSWORD_SIGN_IN=false needs a provider in OIDC_PROVIDERS: no user could sign in.",
        )
    seen: dict[str, str] = {}
    for name, provider in settings.oidc_providers.items():
        first = seen.setdefault(provider.issuer, name)
        if first != name:
            yield (
                {"oidc_providers"},
                f"OIDC_PROVIDERS: {first} and {name} have the same issuer.",
            )
