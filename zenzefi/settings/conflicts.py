"""Rules about values that depend on each other.

Each rule yields the names of the fields that it reads and a sentence. ``load_settings`` drops the
sentence if one of those fields is invalid by itself, because that mistake is reported already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zenzefi.settings.secret_key import HOW_TO_GENERATE
from zenzefi.settings.secret_key import weakness as weakness_of
from zenzefi.settings.sign_in import sign_in_conflicts
from zenzefi.settings.values import parse_origin

if TYPE_CHECKING:
    from zenzefi.settings.model import Settings

Conflict = tuple[set[str], str]


def conflicts(settings: Settings) -> Iterator[Conflict]:
    """All conflicts among the values of ``settings``."""
    yield from _database(settings)
    yield from _secret_key(settings)
    yield from _development_only(settings)
    yield from _upstream(settings)
    yield from _own_origin(settings)
    yield from _form_posts(settings)
    yield from _currency(settings)
    yield from _registration(settings)
    yield from sign_in_conflicts(settings)


def _database(settings: Settings) -> Iterator[Conflict]:
    parts = (settings.postgres_server, settings.postgres_user, settings.postgres_db)
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        if not re.match(r"(postgres(ql)?(\+asyncpg)?|sqlite(\+aiosqlite)?)://", url):
            yield {"database_url"}, "DATABASE_URL must start with postgresql:// or sqlite://."
    elif any(parts) and not all(parts):
        yield (
            {"postgres_server", "postgres_user", "postgres_db"},
            "POSTGRES_SERVER, POSTGRES_USER and POSTGRES_DB go together: set all three.",
        )


def _form_posts(settings: Settings) -> Iterator[Conflict]:
    if bool(settings.form_post_origins) != bool(settings.form_post_paths):
        yield (
            {"form_post_origins", "form_post_paths"},
            "FORM_POST_ORIGINS and FORM_POST_PATHS go together: set both.",
        )


def _secret_key(settings: Settings) -> Iterator[Conflict]:
    fields = {"secret_key", "debug"}
    if not settings.secret_key.get_secret_value():
        if not settings.debug and not settings.is_embedded:
            yield fields, f"SECRET_KEY is required. {HOW_TO_GENERATE}"
        return
    weakness = settings.secret_key_weakness
    if weakness and not settings.debug and not settings.is_private:
        yield fields, weakness
    if settings.next_secret_key is None or settings.debug or settings.is_private:
        return
    following = weakness_of(settings.next_secret_key.get_secret_value())
    if following is not None:
        yield {"next_secret_key", "debug"}, f"NEXT_SECRET_KEY {following}. {HOW_TO_GENERATE}"


def _development_only(settings: Settings) -> Iterator[Conflict]:
    if settings.debug:
        return
    if "mock" in settings.payment_providers:
        yield (
            {"payment_providers", "debug"},
            "PAYMENT_PROVIDERS: 'mock' credits money without a payment and needs DEBUG=true.",
        )
    if settings.mail_url and settings.mail_url.get_secret_value() == "log:":
        yield (
            {"mail_url", "debug"},
            "MAIL_URL: log: writes sign-in links into the log and needs DEBUG=true.",
        )


def _upstream(settings: Settings) -> Iterator[Conflict]:
    if bool(settings.zenzefi_basic_auth_user) != bool(settings.zenzefi_basic_auth_password):
        yield (
            {"zenzefi_basic_auth_user", "zenzefi_basic_auth_password"},
            "ZENZEFI_BASIC_AUTH_USER and ZENZEFI_BASIC_AUTH_PASSWORD go together.",
        )
    if not settings.is_embedded and not settings.zenzefi_target_url:
        yield (
            {"zenzefi_target_url"},
            "ZENZEFI_TARGET_URL is required: the origin of the application behind the gate.",
        )
    if (
        "backend_url" in settings.model_fields_set
        and settings.target_origin == settings.public_origin
    ):
        yield (
            {"zenzefi_target_url", "backend_url"},
            "ZENZEFI_TARGET_URL is the gate itself (BACKEND_URL). Set it to the origin of the "
            "application.",
        )


def _own_origin(settings: Settings) -> Iterator[Conflict]:
    public = settings.public_origin
    if settings.proxy_host and settings.proxy_port:
        yield (
            {"proxy_host", "proxy_port"},
            "PROXY_HOST and PROXY_PORT exclude each other: PROXY_HOST may include a port.",
        )
    if (
        settings.proxy_host
        and parse_origin(f"{public.scheme}://{settings.proxy_host}").authority == public.authority
    ):
        yield (
            {"proxy_host", "backend_url"},
            "PROXY_HOST must differ from the host (or port) of BACKEND_URL.",
        )
    if "backend_url" in settings.model_fields_set and settings.proxy_port == public.port:
        yield (
            {"proxy_port", "backend_url"},
            "PROXY_PORT must differ from the port of BACKEND_URL.",
        )


def _currency(settings: Settings) -> Iterator[Conflict]:
    if settings.payment_currency not in ("RUB", *settings.currency_rates):
        yield (
            {"payment_currency", "currency_rates"},
            f"PAYMENT_CURRENCY is {settings.payment_currency}: CURRENCY_RATES must contain the "
            "price of one ZNC in it.",
        )


def _registration(settings: Settings) -> Iterator[Conflict]:
    if settings.mail_url is None:
        for name in ("require_confirmed_address", "registration_domains"):
            if getattr(settings, name):
                yield (
                    {name, "mail_url"},
                    f"{name.upper()} needs MAIL_URL: users confirm their addresses by e-mail.",
                )
    if settings.terms_version and not settings.terms_url and settings.branding_dir is None:
        yield (
            {"terms_version", "terms_url", "branding_dir"},
            "TERMS_VERSION needs the terms: set TERMS_URL, or put terms.md into BRANDING_DIR.",
        )
