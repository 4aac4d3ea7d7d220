"""Settings of operations: logs, health checks, retention, rate limits."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from zenzefi.settings.values import Listener, OriginList, Rate


class OperationsSettings(BaseSettings):
    """Operations."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )
    log_format: Literal["auto", "pretty", "json"] = Field(
        "auto", description="`auto` (pretty on a terminal, else JSON), `pretty` or `json`."
    )
    access_log: bool = Field(True, description="Log one line per request, in batches.")
    access_log_ids: bool = Field(
        False,
        description="Add the IDs of user and access token to each line of the access log. They are "
        "personal data.",
    )
    health_check_interval: float = Field(
        30, gt=0, le=3600, description="Seconds between background checks."
    )
    drain_delay: float = Field(
        0,
        ge=0,
        le=300,
        description="Seconds during which a draining node still accepts connections, so that the "
        "load balancer can remove it first.",
    )
    drain_timeout: float = Field(
        30,
        ge=0,
        le=3600,
        description="Seconds that a draining node waits for requests in flight.",
    )
    metrics_listen: Listener | None = Field(
        None,
        description="`host:port` of a separate listener for `/metrics`.",
    )
    metrics_on_main_port: bool = Field(
        False,
        description="Serve `/metrics` on the main port too, where everybody who can reach the "
        "gate can read them.",
    )
    tracing: bool = Field(
        False,
        description="Create OpenTelemetry spans (extra `opentelemetry`). The standard `OTEL_*` "
        "variables configure the export.",
    )
    audit_retention_days: int = Field(
        365, ge=1, le=36500, description="Days after which rows of the audit log are deleted."
    )
    session_retention_days: int = Field(
        90,
        ge=1,
        le=36500,
        description="Days after their last use after which sessions of access tokens are deleted, "
        "with their addresses and browsers.",
    )
    cors_api_origins: OriginList = Field(
        [], description="Comma list of origins whose scripts may call the API."
    )
    rate_limit_login: Rate = Field(
        "10/minute",
        description="Attempts to sign in with one account from one address. "
        "`10/minute;100/hour`, or `off`.",
    )
    rate_limit_login_address: Rate | None = Field(
        None,
        description="Failed attempts from one address, over all accounts. Default: ten times "
        "`RATE_LIMIT_LOGIN`.",
    )
    rate_limit_login_account: Rate | None = Field(
        None,
        description="Failed attempts at one account, over all addresses. Default: ten times "
        "`RATE_LIMIT_LOGIN`.",
    )
    rate_limit_code: Rate = Field(
        "10/15 minutes",
        description="Wrong codes of two-step sign-in, per account and address.",
    )
    rate_limit_code_account: Rate | None = Field(
        None,
        description="Wrong codes for one account, over all addresses. Default: three times "
        "`RATE_LIMIT_CODE`.",
    )
    rate_limit_register: Rate = Field("20/hour", description="Registrations per address.")
    rate_limit_api: Rate = Field("120/minute", description="API calls per user.")
    rate_limit_api_key: Rate = Field(
        "120/minute",
        description="API calls per API key. They do not count as calls of the user.",
    )
    rate_limit_release: Rate = Field(
        "10/hour", description="Releases of a token's device, by its owner."
    )
    rate_limit_proxy: Rate = Field("off", description="Proxied requests per token.")
    rate_limit_websocket_messages: Rate = Field(
        "off",
        description="Frames that browsers send over WebSockets, per token. Beyond the limit they "
        "are closed with code 4429.",
    )
    rate_limit_websocket_bytes: Rate = Field(
        "off",
        description="Bytes that browsers send over WebSockets, per token: `10000000/minute`. "
        "Beyond the limit they are closed with code 4429.",
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value
