"""Settings of the reverse proxy: where browsers use the application, scopes, plugins."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from zenzefi.settings.own_origin import BrowserMount
from zenzefi.settings.scope_rules import parse_rule
from zenzefi.settings.values import (
    CommaList,
    HostAndPort,
    NetworkList,
    OptionsByPlugin,
    OriginList,
    RulesByScope,
)


class DevicePolicy(StrEnum):
    """How strictly an access token is bound to one device."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


class ReverseProxySettings(BaseSettings):
    """Reverse proxy."""

    browser_mount: BrowserMount = Field(
        BrowserMount.OWN_ORIGIN,
        description="Where browsers that signed in with a cookie use the application: "
        "`own-origin`, or `prefix` (`/api/v1/proxy/` on the origin of the gate's own pages, "
        "where a hostile application can attack them; over plain http the pages are then served "
        "on loopback only). Clients that send `X-Access-Token` always use the prefix.",
    )
    proxy_host: HostAndPort | None = Field(
        None,
        description="Host (with port) at whose root the upstream is served, as its own origin. "
        "Default: `app.localhost` with the port of `BACKEND_URL` if that is on loopback, else "
        "none.",
    )
    proxy_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="A second port for the same purpose, on the host of `BACKEND_URL`, if no "
        "other host name is available. The process listens on it too. Browsers share cookies "
        "between ports.",
    )
    trusted_proxies: NetworkList = Field(
        [],
        description="Comma list of networks whose forwarded headers are trusted. `unix`: the "
        "clients of a Unix socket.",
    )
    request_line_limit: int = Field(
        16 * 1024,
        ge=2048,
        le=256 * 1024,
        description="Bytes of a request line: method, address and version. A longer one gets 414.",
    )
    request_headers_limit: int = Field(
        64 * 1024,
        ge=8192,
        le=512 * 1024,
        description="Bytes of all headers of a request, cookies included. More get 431; a browser "
        "gets a page that offers to remove the site's cookies.",
    )
    request_header_lines_limit: int = Field(
        128,
        ge=32,
        le=4000,
        description="Number of header lines of a request. More get 431, as with "
        "`REQUEST_HEADERS_LIMIT`.",
    )
    device_policy: DevicePolicy = Field(
        DevicePolicy.OPTIONAL,
        description="`off`, `optional` or `required`: whether a token is bound to one device.",
    )
    scopes: RulesByScope = Field(
        {},
        description="JSON object: scope name to list of rules. A rule is a path pattern (`*` "
        "within a segment, `**` across segments) after optional methods: `GET,POST /reports/**`. "
        "`full` is built in.",
    )
    form_post_origins: OriginList = Field(
        [],
        description="Comma list of origins of sign-in providers that send their response as a form "
        "(`response_mode=form_post`, SAML's POST binding). Browsers send no cookies with it; the "
        "gate lets the browser send it again, from the application's origin.",
    )
    form_post_paths: CommaList = Field(
        [],
        description="Comma list of the application's paths that may get such forms, such as "
        "`/signin-oidc`. They must be protected against cross-site request forgery by themselves "
        "(`state`, `nonce`, `RelayState`), because cookies are sent with the form.",
    )
    plugin_dir: Path | None = Field(None, description="Folder of plugins, one file each.")
    plugins_disabled: CommaList = Field(
        [],
        description="Comma list of plugins that are not loaded.",
    )
    plugin_options: OptionsByPlugin = Field(
        {},
        description="JSON object: plugin name to its options.",
    )

    @field_validator("form_post_paths")
    @classmethod
    def _exact_paths(cls, value: list[str]) -> list[str]:
        for path in value:
            if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+/?", path) or "/." in path:
                raise ValueError(f"{path!r} is not a plain path like /signin-oidc")
        return value

    @field_validator("scopes")
    @classmethod
    def _scopes(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        if "full" in value:
            raise ValueError("the scope 'full' is built in and can't be declared again")
        for name, patterns in value.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", name):
                raise ValueError(f"scope name {name!r}: lower-case letters, digits and underscores")
            if not patterns:
                raise ValueError(f"scope {name!r} has no path pattern, so it would allow nothing")
            for rule in patterns:
                parse_rule(rule)
        return value
