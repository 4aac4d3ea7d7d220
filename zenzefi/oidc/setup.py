"""Set up identity providers on an application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec

from aiohttp import web

from zenzefi.accounts.registration import REGISTRATIONS
from zenzefi.accounts.service import ACCOUNTS
from zenzefi.db.engine import DATABASE
from zenzefi.oidc.identities import ConnectedIdentities
from zenzefi.oidc.provider import IdentityProvider
from zenzefi.oidc.provider_http import ProviderHttp
from zenzefi.settings import SETTINGS, Settings, SettingsError

PROVIDERS: web.AppKey[dict[str, IdentityProvider]] = web.AppKey("identity_providers", dict)
"""The configured identity providers by name, in the order of the setting."""
IDENTITY_CONNECTIONS: web.AppKey[ConnectedIdentities] = web.AppKey(
    "identity_connections", ConnectedIdentities
)


def missing() -> list[str]:
    """The problem to report if the extra is not installed; else an empty list."""
    if find_spec("authlib") is None or find_spec("joserfc") is None:
        return ["OIDC_PROVIDERS needs Authlib. Run: pip install 'zenzefi[oidc]'"]
    return []


def callback_url(settings: Settings, name: str) -> str:
    """The redirect URI of the provider ``name``, with which the gate is registered there."""
    return f"{settings.public_origin}/login/with/{name}/callback"


def providers_of(settings: Settings, http: ProviderHttp) -> dict[str, IdentityProvider]:
    """The providers of ``settings``. Raises ``SettingsError`` if the extra is not installed."""
    if settings.oidc_providers and (problems := missing()):
        raise SettingsError(problems)
    return {
        name: IdentityProvider(name, options, http, callback_url(settings, name))
        for name, options in settings.oidc_providers.items()
    }


def setup(app: web.Application) -> None:
    """Provide the providers and the service of identities; requires the accounts."""
    settings, http = app[SETTINGS], ProviderHttp()
    app[PROVIDERS] = providers_of(settings, http)
    app[IDENTITY_CONNECTIONS] = ConnectedIdentities(
        settings, app[DATABASE], app[ACCOUNTS], app[REGISTRATIONS]
    )

    async def life(_: web.Application) -> AsyncIterator[None]:
        yield
        await http.close()

    app.cleanup_ctx.append(life)
