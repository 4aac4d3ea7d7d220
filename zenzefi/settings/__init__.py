"""Settings: read from the environment and ``.env``, validated at start, all mistakes at once.

``docs/reference/settings.md`` describes each. Any secret may instead be named by ``<NAME>_FILE``, a
file whose content (without the trailing newline) is the value, as container platforms mount it.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import os
import re
import secrets
import ssl
import sys
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from aiohttp import web
from limits import parse_many
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from zenzefi.origin import DEFAULT_PORTS, Origin
from zenzefi.settings import own_origin as mounts
from zenzefi.settings.own_origin import BrowserMount
from zenzefi.settings.scope_rules import parse_rule

_MIN_SECRET_LENGTH = 32
_GUESSABLE = re.compile(r"(?i)secret|password|change.?me|example|12345678|qwerty|your[-_ ]")
_HOW_TO_MAKE_A_KEY = 'Make one with: python -c "import secrets; print(secrets.token_urlsafe(48))"'
DURATIONS = (1, 12, 24, 168, 720)
"""The durations sold, in hours."""

Price = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
Rate = Annotated[str, Field(description='"10/minute", several joined by ";", or "off"')]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(Exception):
    """The settings can't be used; ``problems`` has one plain sentence per mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class _Conflicts(SettingsError):
    """Values that are fine alone and not together: the fields looked at, and what is wrong."""

    def __init__(self, conflicts: list[tuple[set[str], str]]) -> None:
        self.conflicts = conflicts
        super().__init__([text for _, text in conflicts])


def _is_patterned(key: str) -> bool:
    """Whether the key counts up or down, or repeats itself: few keys look so, random ones never."""
    steps = sum(abs(ord(a) - ord(b)) <= 1 for a, b in pairwise(key))
    threes = {key[at : at + 3] for at in range(len(key) - 2)}
    return 2 * steps > len(key) or 3 * len(threes) < 2 * (len(key) - 2)


def _entropy(key: str) -> float:
    """Bits for each character, as far as their frequencies tell (Shannon)."""
    return -sum(p * math.log2(p) for p in (key.count(c) / len(key) for c in set(key)))


RefundPolicy = Literal["nothing", "pro_rata"]
"""``REFUND_USED_TOKENS``: what a used token gives back."""


class DevicePolicy(StrEnum):
    """How strictly one token means one device."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"


def parse_origin(value: str) -> Origin:
    """An origin from ``http(s)://host[:port][/]``.

    Raises ``ValueError`` in plain words for anything else: a path, a user, a query, another scheme.
    """
    match = re.fullmatch(
        r"(?i)(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?/?", value.strip()
    )
    if match is None:
        raise ValueError(
            f"{value!r} is not an origin like https://app.example:8443 (no path, no user)"
        )
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    number = int(port) if port else DEFAULT_PORTS[scheme]
    if not 1 <= number <= 65535:
        raise ValueError(f"port {number} is not between 1 and 65535")
    return Origin(scheme, host, number)


def default_data_dir() -> Path:
    """Where this user's programs keep their data (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "zenzefi"
    return (Path(base) if base else Path.home() / ".local" / "share") / "zenzefi"


def _secret_file(name: str) -> str | None:
    """What the file named by ``<NAME>_FILE`` holds, if one is named. Raises ``OSError``."""
    path = os.environ.get(f"{name.upper()}_FILE")
    return Path(path).read_text(encoding="utf-8").rstrip("\r\n") if path else None


class _SecretFiles(PydanticBaseSettingsSource):
    """``NAME_FILE``: the value of NAME is the content of that file.

    A file that can't be read leaves its field unset here; :func:`load_settings` reports it.
    """

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        try:
            return _secret_file(field_name), field_name, False
        except (OSError, UnicodeDecodeError):
            return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


class Settings(BaseSettings):
    """All settings of one gate; :func:`load_settings` builds it and reports every mistake."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        case_sensitive=False,
        hide_input_in_errors=True,
    )

    # --- the gate itself
    debug: bool = False
    secret_key: SecretStr = SecretStr("")
    previous_secret_keys: Annotated[list[SecretStr], NoDecode] = []
    backend_url: str = "http://127.0.0.1:8000"
    data_dir: Path = Field(default_factory=default_data_dir)
    access_token_expire_minutes: int = Field(60, ge=1, le=60 * 24 * 30)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "pretty", "json"] = "auto"

    # --- database: DATABASE_URL, or the POSTGRES_* parts, or the embedded default
    database_url: SecretStr | None = None
    postgres_server: str | None = None
    postgres_port: int = Field(5432, ge=1, le=65535)
    postgres_user: str | None = None
    postgres_password: SecretStr = SecretStr("")
    postgres_db: str | None = None
    database_pool_size: int = Field(10, ge=1, le=200)

    # --- Redis: REDIS_URL, or the REDIS_* parts, or the in-process cache
    redis_url: SecretStr | None = None
    redis_host: str | None = None
    redis_port: int = Field(6379, ge=1, le=65535)
    redis_password: SecretStr | None = None
    redis_db: int = Field(0, ge=0)

    # --- the upstream
    zenzefi_target_url: str | None = None
    zenzefi_target_aliases: Annotated[list[str], NoDecode] = []
    zenzefi_basic_auth_user: str | None = None
    zenzefi_basic_auth_password: SecretStr | None = None
    zenzefi_verify_ssl: bool = True
    zenzefi_ca_file: Path | None = None
    zenzefi_pinned_sha256: str | None = None
    upstream_connect_timeout: float = Field(10, gt=0, le=600)
    upstream_read_timeout: float = Field(60, gt=0, le=86400)
    upstream_max_connections: int = Field(1024, ge=1, le=65535)
    upstream_connections_per_token: int = Field(128, ge=1, le=65535)
    upstream_long_lived_share: float = Field(0.75, gt=0, lt=1)
    upstream_queue_size: int = Field(1024, ge=0, le=65535)
    upstream_queue_timeout: float = Field(10, gt=0, le=600)

    # --- the way through
    fast_lane: bool = True
    browser_mount: BrowserMount = BrowserMount.OWN_ORIGIN
    proxy_host: str | None = None
    proxy_port: int | None = Field(None, ge=1, le=65535)
    application_name: str | None = Field(None, min_length=1, max_length=60)
    trusted_proxies: Annotated[list[Network], NoDecode] = []
    device_policy: DevicePolicy = DevicePolicy.OPTIONAL
    scopes: Annotated[dict[str, list[str]], NoDecode] = {}

    # --- money
    token_price_1h: Price = Decimal("0.00")
    token_price_12h: Price = Decimal("0.00")
    token_price_24h: Price = Decimal("0.00")
    token_price_7d: Price = Decimal("0.00")
    token_price_30d: Price = Decimal("0.00")
    znc_to_rub_rate: Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=4)] = Decimal(10)
    stripe_secret_key: SecretStr | None = None
    stripe_webhook_secret: Annotated[list[SecretStr], NoDecode] = []
    stripe_api_base: str | None = None
    refund_used_tokens: RefundPolicy = "nothing"
    payment_providers: Annotated[list[str], NoDecode] = ["manual"]

    # --- e-mail and the second step of signing in
    mail_url: SecretStr | None = None
    mail_from: str = "Zenzefi <no-reply@localhost>"
    admin_two_factor: bool = False

    # --- plugins
    plugin_dir: Path | None = None
    plugins_disabled: Annotated[list[str], NoDecode] = []
    plugin_options: Annotated[dict[str, dict[str, Any]], NoDecode] = {}

    # --- operations
    health_check_interval: float = Field(30, gt=0, le=3600)
    drain_delay: float = Field(0, ge=0, le=300)
    drain_timeout: float = Field(30, ge=0, le=3600)
    access_log: bool = True
    audit_retention_days: int = Field(365, ge=1, le=36500)
    session_retention_days: int = Field(90, ge=1, le=36500)
    metrics_listen: str | None = None
    tracing: bool = False
    cors_api_origins: Annotated[list[str], NoDecode] = []
    rate_limit_login: Rate = "10/minute"
    rate_limit_login_address: Rate | None = None
    rate_limit_login_account: Rate | None = None
    rate_limit_code: Rate = "10/15 minutes"
    rate_limit_code_account: Rate | None = None
    rate_limit_register: Rate = "20/hour"
    rate_limit_api: Rate = "120/minute"
    rate_limit_release: Rate = "10/hour"
    rate_limit_proxy: Rate = "off"
    rate_limit_websocket_messages: Rate = "off"
    rate_limit_websocket_bytes: Rate = "off"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then ``*_FILE``, then ``.env``."""
        return init_settings, env_settings, _SecretFiles(settings_cls), dotenv_settings

    # --- single values

    # Before-validators run from the last to the first: this one gets the list that the next makes.
    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        try:
            return [ipaddress.ip_network(item) for item in value]
        except ValueError as error:
            raise ValueError(f"{error} (write addresses or networks like 10.0.0.0/8)") from None

    @field_validator(
        "previous_secret_keys",
        "zenzefi_target_aliases",
        "cors_api_origins",
        "trusted_proxies",
        "payment_providers",
        "stripe_webhook_secret",
        "plugins_disabled",
        mode="before",
    )
    @classmethod
    def _comma_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("scopes", "plugin_options", mode="before")
    @classmethod
    def _json_object(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"must be a JSON object ({error})") from None

    @field_validator("database_url", "redis_url")
    @classmethod
    def _server(cls, value: SecretStr | None) -> SecretStr | None:
        """What the drivers would stumble over later, said without the password in it."""
        if value is None:
            return None
        parts = urlsplit(value.get_secret_value())
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("its port is no number between 0 and 65535") from None
        if parts.scheme.startswith("sqlite") and parts.path.strip("/") in ("", ":memory:"):
            raise ValueError("must name a file, like sqlite:////var/lib/zenzefi/gate.sqlite3")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"(rediss?|unix)://", value.get_secret_value()):
            raise ValueError("must start with redis://, rediss:// (TLS) or unix://")
        return value

    @field_validator("zenzefi_ca_file")
    @classmethod
    def _certificates(cls, value: Path | None) -> Path | None:
        try:
            if value is not None:
                ssl.create_default_context(cafile=value)
        except OSError as error:  # ssl.SSLError is one
            reason = error.strerror or "it is no certificate"
            raise ValueError(f"{value} can't be used ({reason})") from None
        return value

    @field_validator("backend_url", "zenzefi_target_url")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        return value if value is None else str(parse_origin(value))

    @field_validator("zenzefi_target_aliases", "cors_api_origins")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        return [str(parse_origin(item)) for item in value]

    @field_validator("proxy_host")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parse_origin(f"http://{value}")
        except ValueError:
            raise ValueError("must be a host, or host:port, like app.gate.example:8443") from None
        return value.lower()

    @field_validator("metrics_listen")
    @classmethod
    def _listener(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parse_origin(f"http://{value}")
        except ValueError:
            raise ValueError("must be host:port, like 127.0.0.1:9100") from None
        if not re.search(r":\d+$", value):
            raise ValueError("must name a port, like 127.0.0.1:9100")
        return value

    @field_validator(
        "rate_limit_login",
        "rate_limit_login_address",
        "rate_limit_login_account",
        "rate_limit_code",
        "rate_limit_code_account",
        "rate_limit_register",
        "rate_limit_api",
        "rate_limit_release",
        "rate_limit_proxy",
        "rate_limit_websocket_messages",
        "rate_limit_websocket_bytes",
    )
    @classmethod
    def _rate(cls, value: str | None) -> str | None:
        if value is None:  # it follows another limit
            return None
        if value.strip().lower() in ("off", "none", "0"):
            return "off"
        try:
            parse_many(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is no rate: write 10/minute, 500/hour;20/second, or off"
            ) from None
        return value

    @field_validator("mail_url")
    @classmethod
    def _mail_way(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(
            r"(?:smtps?://[^/?#]+/?|log:)\Z", value.get_secret_value()
        ):
            raise ValueError("must be smtp://user:password@host:587, smtps://host:465 or log:")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("payment_providers")
    @classmethod
    def _provider_names(cls, value: list[str]) -> list[str]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{name!r} is no provider's name")
        return value

    @field_validator("zenzefi_pinned_sha256")
    @classmethod
    def _pin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        plain = value.replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", plain):
            raise ValueError("must be the certificate's SHA-256 fingerprint: 64 hex digits")
        return plain

    @field_validator("scopes")
    @classmethod
    def _scope_patterns(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        if "full" in value:
            raise ValueError("the scope 'full' is built in and can't be declared again")
        for name, patterns in value.items():
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", name):
                raise ValueError(f"scope name {name!r}: lower-case letters, digits and underscores")
            if not patterns:
                raise ValueError(
                    f"scope {name!r} has no path pattern, so it would let nobody through"
                )
            for rule in patterns:
                parse_rule(rule)
        return value

    # --- values that depend on each other

    @model_validator(mode="after")
    def _together(self) -> Self:
        conflicts = list(self._conflicts())
        if conflicts:
            raise _Conflicts(conflicts)
        return self

    def _conflicts(self) -> Iterator[tuple[set[str], str]]:
        """Each rule names the fields it looks at: it says nothing when one of them is wrong."""
        parts = (self.postgres_server, self.postgres_user, self.postgres_db)
        if self.database_url is not None:
            url = self.database_url.get_secret_value()
            if not re.match(r"(postgres(ql)?(\+asyncpg)?|sqlite(\+aiosqlite)?)://", url):
                yield (
                    {"database_url"},
                    "DATABASE_URL must start with postgresql:// or sqlite://.",
                )
        elif any(parts) and not all(parts):
            yield (
                {"postgres_server", "postgres_user", "postgres_db"},
                "POSTGRES_SERVER, POSTGRES_USER and POSTGRES_DB go together: set all three.",
            )
        for problem in self._secret_problems():
            yield {"secret_key", "debug"}, problem
        if bool(self.zenzefi_basic_auth_user) != bool(self.zenzefi_basic_auth_password):
            yield (
                {"zenzefi_basic_auth_user", "zenzefi_basic_auth_password"},
                "ZENZEFI_BASIC_AUTH_USER and ZENZEFI_BASIC_AUTH_PASSWORD go together.",
            )
        if "mock" in self.payment_providers and not self.debug:
            yield (
                {"payment_providers", "debug"},
                "PAYMENT_PROVIDERS: 'mock' credits money without a payment and needs DEBUG=true.",
            )
        if self.mail_url and self.mail_url.get_secret_value() == "log:" and not self.debug:
            yield (
                {"mail_url", "debug"},
                "MAIL_URL: log: writes sign-in links into the log and needs DEBUG=true.",
            )
        if not self.is_embedded and not self.zenzefi_target_url:
            yield (
                {"zenzefi_target_url"},
                "ZENZEFI_TARGET_URL is required: the origin of the application behind the gate.",
            )
        if "backend_url" in self.model_fields_set and self.target_origin == self.public_origin:
            yield (
                {"zenzefi_target_url", "backend_url"},
                "ZENZEFI_TARGET_URL is the gate itself (BACKEND_URL): name the application behind "
                "it.",
            )
        yield from self._mount_conflicts()

    def _mount_conflicts(self) -> Iterator[tuple[set[str], str]]:
        if self.proxy_host and self.proxy_port:
            yield (
                {"proxy_host", "proxy_port"},
                "PROXY_HOST and PROXY_PORT exclude each other: PROXY_HOST may name a port itself.",
            )
        public = self.public_origin
        if (
            self.proxy_host
            and parse_origin(f"{public.scheme}://{self.proxy_host}").authority == public.authority
        ):
            yield (
                {"proxy_host", "backend_url"},
                "PROXY_HOST must be another host (or port) than BACKEND_URL's.",
            )
        if "backend_url" in self.model_fields_set and self.proxy_port == public.port:
            yield (
                {"proxy_port", "backend_url"},
                "PROXY_PORT must be another port than BACKEND_URL's.",
            )

    def _secret_problems(self) -> list[str]:
        if not self.secret_key.get_secret_value():
            if self.debug or self.is_embedded:
                return []
            return [f"SECRET_KEY is required. {_HOW_TO_MAKE_A_KEY}"]
        doubt = self.secret_key_doubt
        return [doubt] if doubt and not (self.debug or self.is_private) else []

    # --- derived

    @property
    def is_private(self) -> bool:
        """Whether browsers of this machine alone are meant to see the gate.

        So says ``BACKEND_URL``; its default says nothing where there are servers to share.
        """
        is_said = self.is_embedded or "backend_url" in self.model_fields_set
        return is_said and mounts.is_loopback(self.public_origin.host)

    @property
    def secret_key_doubt(self) -> str | None:
        """Why somebody might guess ``SECRET_KEY``; refused where others can reach the gate."""
        key = self.secret_key.get_secret_value()
        if not key:
            return None
        if len(key) < _MIN_SECRET_LENGTH:
            why = f"is shorter than {_MIN_SECRET_LENGTH} characters"
        elif _entropy(key) < 3 or _is_patterned(key) or _GUESSABLE.search(key):
            why = "can be guessed (repetitive, or made of common words)"
        else:
            return None
        return f"SECRET_KEY {why}. {_HOW_TO_MAKE_A_KEY}"

    @property
    def is_embedded(self) -> bool:
        """Whether the database is the embedded SQLite file of this very program."""
        return self.database_url is None and self.postgres_server is None

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL with its async driver."""
        if self.database_url is not None:
            url = self.database_url.get_secret_value()
            url = re.sub(r"^postgres(ql)?(\+asyncpg)?://", "postgresql+asyncpg://", url)
            return re.sub(r"^sqlite(\+aiosqlite)?://", "sqlite+aiosqlite://", url)
        if self.postgres_server is not None:
            user = quote(self.postgres_user or "", safe="")
            password = quote(self.postgres_password.get_secret_value(), safe="")
            return (
                f"postgresql+asyncpg://{user}:{password}@{self.postgres_server}:{self.postgres_port}"
                f"/{quote(self.postgres_db or '', safe='')}"
            )
        return f"sqlite+aiosqlite:///{self.data_dir / 'zenzefi.sqlite3'}"

    @property
    def redis_dsn(self) -> str | None:
        """The Redis URL, or ``None`` for the in-process cache."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        if self.redis_host is None:
            return None
        password = self.redis_password.get_secret_value() if self.redis_password else ""
        auth = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{auth}{self.redis_host}:{self.redis_port}/{self.redis_db}"

    @property
    def public_origin(self) -> Origin:
        """The origin at which browsers see the gate's own pages (``BACKEND_URL``)."""
        return parse_origin(self.backend_url)

    @property
    def own_origin(self) -> Origin | None:
        """The origin at whose root browsers see the upstream; ``None``: there is none."""
        return mounts.own_origin(
            self.public_origin,
            proxy_host=self.proxy_host,
            proxy_port=self.proxy_port,
            browser_mount=self.browser_mount,
        )

    @property
    def target_origin(self) -> Origin | None:
        """The upstream's origin; ``None`` means the bundled demo site."""
        return parse_origin(self.zenzefi_target_url) if self.zenzefi_target_url else None

    def price(self, duration_hours: int) -> Decimal:
        """What a token of that duration costs now, in ZNC. Raises ``KeyError`` if not sold."""
        return {
            1: self.token_price_1h,
            12: self.token_price_12h,
            24: self.token_price_24h,
            168: self.token_price_7d,
            720: self.token_price_30d,
        }[duration_hours]


SETTINGS = web.AppKey("settings", Settings)


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and validate the settings; raises :class:`SettingsError` that lists every mistake.

    On the embedded default a missing ``SECRET_KEY`` is made once and kept in ``DATA_DIR``.
    """
    given = dict(overrides or {})
    wrong = _unreadable_files()
    problems = list(wrong.values())
    settings = None
    try:
        settings = Settings(**given)
    except ValidationError as error:
        faults = error.errors()
        problems += [_plain(fault) for fault in faults]
        wrong |= dict.fromkeys((str(fault["loc"][0]) for fault in faults if fault["loc"]), "")
        problems += _conflicts_besides(wrong.keys(), given)
    except _Conflicts as error:
        problems += [text for fields, text in error.conflicts if not fields & wrong.keys()]
    if settings is None or problems:
        raise SettingsError(problems)
    if not settings.secret_key.get_secret_value():
        settings.secret_key = SecretStr(_kept_secret(settings.data_dir))
    return settings


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Names of variables that are no setting but nearly spelt like one, and what was meant."""
    known = {name.upper() for name in Settings.model_fields}
    found = {}
    for name in sorted({name.upper() for name in names}):
        plain = name.removesuffix("_FILE")
        if name not in known and plain not in known:
            for meant in difflib.get_close_matches(plain, known, 1, 0.88):
                found[name] = meant + name[len(plain) :]
    return found


def _unreadable_files() -> dict[str, str]:
    found = {}
    for name in Settings.model_fields:
        try:
            _secret_file(name)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            path = os.environ[f"{name.upper()}_FILE"]
            found[name] = f"{name.upper()}_FILE: {path} can't be read ({reason})."
    return found


def _conflicts_besides(wrong: AbstractSet[str], given: Mapping[str, Any]) -> list[str]:
    """The conflicts among the fields that are right alone: pydantic stops before it looks."""
    fields = Settings.model_fields
    harmless = {
        name: fields[name].get_default(call_default_factory=True) for name in wrong & fields.keys()
    }
    try:
        Settings(**{**given, **harmless})
    except _Conflicts as error:
        return [text for looked_at, text in error.conflicts if not looked_at & wrong]
    except ValidationError:  # a fault that only shows once others are gone: next time
        return []
    return []


def _plain(problem: Any) -> str:
    first, *inside = problem["loc"] or ("settings",)
    name = ".".join([str(first).upper(), *map(str, inside)])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name}: {message[:1].lower()}{message[1:]}."


def _kept_secret(folder: Path) -> str:
    """The embedded default's own key: made once, readable by its owner only."""
    path = folder / "secret_key"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text(encoding="ascii").strip()
        key = secrets.token_urlsafe(48)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(key + "\n")
        return key
    except OSError as error:
        raise SettingsError([f"DATA_DIR: {folder} can't be used ({error.strerror})."]) from error
