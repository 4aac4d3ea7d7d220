"""``zenzefi check``: whether the identity providers can be reached and used."""

from __future__ import annotations

from zenzefi.oidc.errors import ProviderUnavailable
from zenzefi.oidc.metadata import InvalidMetadata, discovery_url, parse_metadata
from zenzefi.oidc.provider_http import ProviderHttp
from zenzefi.oidc.setup import callback_url, missing
from zenzefi.oidc.signed_tokens import usable_keys
from zenzefi.runtime.checks import TIMEOUT, Check
from zenzefi.settings import Settings
from zenzefi.tokens.scopes import Scopes


async def check_provider(settings: Settings, name: str) -> Check:
    """Read the discovery document and the keys of one provider."""
    title = f"sign-in ({name})"
    if problems := missing():
        return Check(title, ok=False, detail=problems[0], is_setting=True)
    unknown = _unknown_scopes(settings, name)
    if unknown:
        detail = f"group_scopes names scopes that SCOPES does not have: {', '.join(unknown)}"
        return Check(title, ok=False, detail=detail, is_setting=True)
    issuer = settings.oidc_providers[name].issuer
    http = ProviderHttp(timeout=TIMEOUT)
    try:
        metadata = parse_metadata(await http.get(discovery_url(issuer)), issuer)
        keys = usable_keys(await http.get(metadata.jwks_uri))
    except InvalidMetadata as error:
        return Check(title, ok=False, detail=f"{issuer}: {error}", is_setting=True)
    except ProviderUnavailable as error:
        reason = "; ".join(getattr(error, "__notes__", []))
        return Check(title, ok=False, detail=f"{issuer} can't be used: {reason}")
    finally:
        await http.close()
    if not keys:
        return Check(title, ok=False, detail=f"{issuer} publishes no usable key")
    return Check(title, ok=True, detail=f"redirect URI: {callback_url(settings, name)}")


def _unknown_scopes(settings: Settings, name: str) -> list[str]:
    known = Scopes(settings.scopes)
    named = settings.oidc_providers[name].group_scopes.values()
    return sorted({scope for scopes in named for scope in scopes if scope not in known})
