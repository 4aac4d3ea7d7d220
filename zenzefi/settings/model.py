"""The settings of one gate: all groups, their sources, and the values derived from them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Self
from urllib.parse import quote

from aiohttp import web
from pydantic import model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from zenzefi.origin import Origin
from zenzefi.settings import free_access
from zenzefi.settings import own_origin as mounts
from zenzefi.settings.billing import BillingSettings
from zenzefi.settings.branding import BrandingSettings
from zenzefi.settings.catalogue import Catalogue
from zenzefi.settings.conflicts import conflicts
from zenzefi.settings.errors import SettingsConflict
from zenzefi.settings.gate import GateSettings
from zenzefi.settings.operations import OperationsSettings
from zenzefi.settings.registration import RegistrationSettings
from zenzefi.settings.reverse_proxy import ReverseProxySettings
from zenzefi.settings.secret_key import HOW_TO_GENERATE, weakness
from zenzefi.settings.servers import ServerSettings
from zenzefi.settings.sign_in import SignInSettings
from zenzefi.settings.sources import SecretFiles
from zenzefi.settings.upstream import UpstreamSettings
from zenzefi.settings.values import parse_origin

GROUPS: dict[str, type[BaseSettings]] = {
    "The gate": GateSettings,
    "Database and Redis": ServerSettings,
    "The upstream": UpstreamSettings,
    "Reverse proxy": ReverseProxySettings,
    "Money": BillingSettings,
    "Registration": RegistrationSettings,
    "Sign-in": SignInSettings,
    "Branding": BrandingSettings,
    "Operations": OperationsSettings,
}
"""The groups by their heading in ``docs/reference/settings.md``."""


class Settings(
    GateSettings,
    ServerSettings,
    UpstreamSettings,
    ReverseProxySettings,
    BillingSettings,
    RegistrationSettings,
    SignInSettings,
    BrandingSettings,
    OperationsSettings,
):
    """All settings of one gate. ``load_settings`` creates it and reports every mistake."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        case_sensitive=False,
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """In order of precedence: arguments, the environment, ``*_FILE``, ``.env``."""
        return init_settings, env_settings, SecretFiles(settings_cls), dotenv_settings

    @model_validator(mode="after")
    def _check_conflicts(self) -> Self:
        found = list(conflicts(self))
        if found:
            raise SettingsConflict(found)
        return self

    @property
    def is_private(self) -> bool:
        """Whether only browsers on this machine use the gate, according to ``BACKEND_URL``.

        The default of ``BACKEND_URL`` counts for the embedded database only.
        """
        is_declared = self.is_embedded or "backend_url" in self.model_fields_set
        return is_declared and mounts.is_loopback(self.public_origin.host)

    @property
    def needs_confirmed_address(self) -> bool:
        """Whether users must confirm their address: an unconfirmed one proves no mail domain."""
        return self.require_confirmed_address or bool(self.registration_domains)

    @property
    def secret_key_weakness(self) -> str | None:
        """Why ``SECRET_KEY`` is weak; a weak key is refused where other machines reach the gate."""
        key = self.secret_key.get_secret_value()
        why = weakness(key) if key else None
        return None if why is None else f"SECRET_KEY {why}. {HOW_TO_GENERATE}"

    @property
    def is_embedded(self) -> bool:
        """Whether the database is the embedded SQLite file in ``DATA_DIR``."""
        return self.database_url is None and self.postgres_server is None

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL with its asyncio driver."""
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
        """The origin at whose root browsers see the upstream; ``None`` if there is none."""
        return mounts.own_origin(
            self.public_origin,
            proxy_host=self.proxy_host,
            proxy_port=self.proxy_port,
            browser_mount=self.browser_mount,
        )

    @property
    def target_origin(self) -> Origin | None:
        """The upstream's origin; ``None`` for the bundled demo site."""
        return parse_origin(self.zenzefi_target_url) if self.zenzefi_target_url else None

    @property
    def catalogue(self) -> Catalogue:
        """The price list of the settings, which a published one replaces."""
        return free_access.catalogue(self)

    @property
    def rates(self) -> dict[str, Decimal]:
        """The price of one ZNC by currency (ISO 4217), the currency that buyers pay in first."""
        known = {"RUB": self.znc_to_rub_rate, **self.currency_rates}
        if self.payment_currency != "RUB" and "znc_to_rub_rate" not in self.model_fields_set:
            del known["RUB"]  # the default rate, which was not set
        return {self.payment_currency: known[self.payment_currency], **known}


SETTINGS = web.AppKey("settings", Settings)
