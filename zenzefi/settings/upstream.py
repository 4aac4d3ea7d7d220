"""Settings of the upstream: address, certificate, connection limits."""

from __future__ import annotations

import re
import ssl
from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from zenzefi.settings.values import OriginList, OriginUrl


class UpstreamView(StrEnum):
    """Whose host and addresses the upstream sees in requests: one consistent view."""

    PRIVATE = "private"
    PUBLIC = "public"


class UpstreamSettings(BaseSettings):
    """The upstream."""

    zenzefi_target_url: OriginUrl | None = Field(
        None,
        description="Origin of the application behind the gate. Default: the bundled demo site, on "
        "the embedded default only.",
    )
    zenzefi_target_aliases: OriginList = Field(
        [],
        description="Comma list of other origins that the application uses for itself.",
    )
    zenzefi_basic_auth_user: str | None = Field(
        None,
        description="User name for basic authentication at the upstream.",
    )
    zenzefi_basic_auth_password: SecretStr | None = Field(
        None,
        description="Password for basic authentication at the upstream.",
    )
    upstream_view: UpstreamView = Field(
        UpstreamView.PRIVATE,
        description="The address that requests name to the application. `private`: `Host`, "
        "`Origin` and `Referer` are its own, and nothing names the gate. `public`: they are the "
        "gate's, with `X-Forwarded-Host`, `-Proto` and `-Prefix` "
        "(docs/how-to/run-in-production.md).",
    )
    zenzefi_verify_ssl: bool = Field(True, description="Verify the upstream's certificate.")
    zenzefi_ca_file: Path | None = Field(
        None,
        description="PEM file of the CA certificates that are trusted for the upstream.",
    )
    zenzefi_pinned_sha256: str | None = Field(
        None,
        description="SHA-256 fingerprint of the only certificate that is accepted.",
    )
    upstream_connect_timeout: float = Field(
        10,
        gt=0,
        le=600,
        description="Timeout for opening an upstream connection, in seconds.",
    )
    upstream_read_timeout: float = Field(
        60,
        gt=0,
        le=86400,
        description="Longest silence of the upstream before a timeout, in seconds.",
    )
    upstream_max_connections: int = Field(
        1024,
        ge=1,
        le=65535,
        description="Maximum connections of one process to the upstream, including requests, event "
        "streams, WebSockets and idle connections.",
    )
    upstream_connections_per_token: int = Field(
        128,
        ge=1,
        le=65535,
        description="Maximum of these connections that one access token uses for requests, and "
        "again for streams and WebSockets; at most half of either.",
    )
    upstream_long_lived_share: float = Field(
        0.75,
        gt=0,
        lt=1,
        description="Share of these connections that event streams, WebSockets and requests longer "
        "than ten seconds may use. The rest is reserved for short requests.",
    )
    upstream_queue_size: int = Field(
        1024,
        ge=0,
        le=65535,
        description="Requests that may wait for a connection. One token may have half of them.",
    )
    upstream_queue_timeout: float = Field(
        10,
        gt=0,
        le=600,
        description="Seconds that a request waits for a connection before it gets 503.",
    )
    fast_lane: bool = Field(
        True,
        description="Admit requests at once where nothing has to be awaited. If false, a task "
        "awaits each admission, which is slower (docs/explanation/forwarding.md).",
    )

    @field_validator("zenzefi_ca_file")
    @classmethod
    def _certificates(cls, value: Path | None) -> Path | None:
        try:
            if value is not None:
                ssl.create_default_context(cafile=value)
        except OSError as error:  # ssl.SSLError is a subclass of it
            reason = error.strerror or "it contains no certificate"
            raise ValueError(f"{value} can't be used ({reason})") from None
        return value

    @field_validator("zenzefi_pinned_sha256")
    @classmethod
    def _fingerprint(cls, value: str | None) -> str | None:
        if value is None:
            return None
        plain = value.replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", plain):
            raise ValueError("must be the certificate's SHA-256 fingerprint: 64 hex digits")
        return plain
