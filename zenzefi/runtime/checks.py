"""Checks of the database, Redis and the upstream.

The background health check uses the cheap ones (``ping_*`` and :func:`check_upstream`).
``zenzefi check`` uses the thorough ones, which also write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from sqlalchemy import text

from zenzefi.db import migrate, probe
from zenzefi.db.engine import Database
from zenzefi.db.errors import DatabaseNotWritable, DatabaseUnavailable
from zenzefi.deadline import Deadline
from zenzefi.settings import Settings, parse_origin
from zenzefi.upstream_tls import UpstreamTls

if TYPE_CHECKING:
    from redis.asyncio import Redis

AGENT = "zenzefi-health"
"""User-Agent of the check of the upstream, so that operators can exclude it from statistics."""
TIMEOUT = 5.0
"""Timeout of one check, in seconds."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. ``detail`` is a phrase for the operator.

    ``is_setting``: a failure is due to an invalid setting, not to an unreachable server.
    """

    name: str
    ok: bool
    detail: str
    is_setting: bool = False


# --- the database


async def check_database(database: Database, *, automatic: bool = False) -> Check:
    """Check that the database responds, has the current schema and accepts writes.

    ``automatic``: an outdated schema is accepted, because ``zenzefi serve`` migrates it.
    """
    name = "database"
    try:
        async with Deadline(TIMEOUT):
            version = await _version(database)
            found, needed = await migrate.current(database), migrate.head()
            read_only = await _why_not_writable(database)
    except (DatabaseUnavailable, TimeoutError) as error:
        return Check(name, ok=False, detail=f"{_place(database)} can't be used{reason(error)}")
    if read_only:
        return Check(name, ok=False, detail=f"{version} {read_only}")
    if found == needed:
        return Check(name, ok=True, detail=f"{version}, schema {found}, writable")
    if automatic:
        return Check(name, ok=True, detail=f"{version}, will be migrated by zenzefi serve")
    state = "empty" if found is None else f"at {found}"
    return Check(name, ok=False, detail=f"{version}, schema {state}: run zenzefi migrate")


async def ping_database(
    database: Database, *, writes: bool = False, seconds: float | None = None
) -> Check:
    """Check that the database can be read within ``seconds`` and, with ``writes``, be written."""
    try:
        async with Deadline(TIMEOUT if seconds is None else seconds):
            await probe.read(database)
            if writes:
                await probe.write(database)
    except DatabaseNotWritable as error:
        detail = f"{_place(database)} rejects writes{reason(error)}"
        return Check("database", ok=False, detail=detail)
    except (DatabaseUnavailable, TimeoutError) as error:
        detail = f"{_place(database)} can't be reached{reason(error)}"
        return Check("database", ok=False, detail=detail)
    return Check("database", ok=True, detail="responds")


def _place(database: Database) -> str:
    url = database.engine.url
    return str(url.database) if url.host is None else f"{url.host}:{url.port or 5432}"


async def _version(database: Database) -> str:
    if database.dialect == "sqlite":
        query, label = "SELECT sqlite_version()", "SQLite"
    else:
        query, label = "SHOW server_version", "PostgreSQL"
    async with database.read() as connection:
        version = str((await connection.execute(text(query))).scalar_one())
    return f"{label} {version.partition(' ')[0]}"


_UNWRITABLE = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
AND c.relkind = 'r' AND NOT has_table_privilege(c.oid, 'INSERT') ORDER BY 1 LIMIT 1
"""


async def _why_not_writable(database: Database) -> str:
    """Why the database rejects writes, as the end of a sentence; empty if it accepts them."""
    # On SQLite, begin() acquires the write lock, which fails on a read-only file.
    async with database.begin() as connection:
        if database.dialect == "sqlite":
            return ""
        read_only = (await connection.execute(text("SHOW transaction_read_only"))).scalar_one()
        if read_only == "on":
            return "is read-only: if it is a standby, use the address of the primary"
        table = (await connection.execute(text(_UNWRITABLE))).scalar_one_or_none()
    return f"does not let this user write (table {table})" if table else ""


# --- Redis


async def ping_redis(dsn: str) -> Check:
    """Check that Redis responds."""
    async with _redis(dsn) as (client, results):
        await client.ping()
        results.append(Check("redis", ok=True, detail="responds"))
    return results[-1]


async def check_redis(dsn: str) -> Check:
    """Check that Redis responds, stores entries and delivers messages."""
    async with _redis(dsn) as (client, results):
        version = (await client.info("server")).get("redis_version", "?")
        # The names that the gate uses, because an access control list may allow no others.
        mark = secrets.token_hex(8)
        key, channel = f"active_token:check-{mark}", "zenzefi:ended"
        await client.set(key, mark, ex=int(TIMEOUT) * 2, nx=True)
        kept = await client.get(key)
        await client.delete(key)
        async with client.pubsub() as subscription:
            await subscription.subscribe(channel)
            await client.publish(channel, mark)
            is_delivered = False
            async for message in subscription.listen():
                is_delivered = message["type"] == "message" and message["data"] == mark.encode()
                if is_delivered:
                    break
        ok = kept == mark.encode() and is_delivered
        detail = f"Redis {version}, stores entries and delivers messages"
        lost = f"Redis {version} does not store entries"
        results.append(Check("redis", ok=ok, detail=detail if ok else lost))
    return results[-1]


@contextlib.asynccontextmanager
async def _redis(dsn: str) -> AsyncIterator[tuple[Redis, list[Check]]]:
    """A client, and a list of results to which a failure of the block is appended."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(dsn, socket_timeout=TIMEOUT * 6, socket_connect_timeout=TIMEOUT * 6)
    options = client.connection_pool.connection_kwargs
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    results: list[Check] = []
    try:
        async with Deadline(TIMEOUT):
            yield client, results
    except (RedisError, OSError, TimeoutError) as error:
        detail = f"{place} can't be used{reason(error) or f' ({scrubbed(error)})'}"
        results.append(Check("redis", ok=False, detail=detail))
    finally:
        await client.aclose()


# --- the upstream


async def check_upstream(settings: Settings) -> Check:
    """Check that the upstream responds. A 401 or 403 is a success: it requires authentication."""
    origin = settings.target_origin
    if origin is None:
        return Check("upstream", ok=True, detail="the bundled demo site")
    auth = None
    if settings.zenzefi_basic_auth_user and settings.zenzefi_basic_auth_password:
        auth = aiohttp.BasicAuth(
            settings.zenzefi_basic_auth_user,
            settings.zenzefi_basic_auth_password.get_secret_value(),
            encoding="utf-8",
        )
    try:
        async with (
            Deadline(TIMEOUT),
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                auth=auth,
                headers={"User-Agent": AGENT},
            ) as session,
            session.get(
                f"{origin}/", allow_redirects=False, ssl=await asyncio.to_thread(_tls, settings)
            ) as response,
        ):
            status, location = response.status, response.headers.get("Location", "")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Check("upstream", ok=False, detail=f"{origin} {_why_unreached(error)}")
    if status in (502, 503, 504):
        return Check("upstream", ok=False, detail=f"{origin} returns {status}")
    elsewhere = re.match(r"(?i)https?://[^/?#]+", location) if 300 <= status < 400 else None
    detail = f"{origin} returns {status}"
    with contextlib.suppress(ValueError):
        if elsewhere and parse_origin(elsewhere[0]) != origin:
            detail += f", a redirect to {elsewhere[0]}: is that the application?"
    return Check("upstream", ok=True, detail=detail)


def _why_unreached(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"has a different certificate than the pinned one: its SHA-256 is {error.got.hex()}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        why = getattr(inner, "verify_message", "") or scrubbed(inner)
        return (
            f"has a certificate that can't be verified ({why}): "
            "set ZENZEFI_CA_FILE to its CA, or pin it with ZENZEFI_PINNED_SHA256"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "can't be reached (unknown host)"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"can't be reached ({plain(error.os_error)})"
    if isinstance(error, TimeoutError):
        return f"does not respond within {TIMEOUT:g} seconds"
    return f"can't be reached ({plain(error)})"


def _tls(settings: Settings) -> ssl.SSLContext | aiohttp.Fingerprint:
    """The verification of the proxy, as aiohttp's parameter ``ssl``."""
    tls = UpstreamTls.of(settings)
    return tls.context if tls.pin is None else aiohttp.Fingerprint(tls.pin)


# --- texts of errors


def plain(error: BaseException) -> str:
    """A short text of an error: the system's message for an errno, without number and address."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and isinstance(number, int) and number > 0:
        return os.strerror(number)
    return scrubbed(error)


def scrubbed(error: BaseException) -> str:
    """The first line of an error's text, without passwords in URLs."""
    from zenzefi.observability.logs import Scrubber

    lines = str(error).strip().splitlines()
    return Scrubber()(lines[0] if lines else type(error).__name__).rstrip(".")


def reason(error: BaseException) -> str:
    """The innermost cause in parentheses, in one line; empty without a cause that has a text."""
    inner: BaseException = error
    while (deeper := _deeper(inner)) is not None:
        inner = deeper
    if isinstance(inner, TimeoutError) and not str(inner):
        return f" (no response within {TIMEOUT:g} seconds)"
    return f" ({plain(inner)})" if inner is not error and str(inner) else ""


def _deeper(error: BaseException) -> BaseException | None:
    """The wrapped error. redis-py sets no cause, but raises while handling the system's error."""
    found = getattr(error, "orig", None) or error.__cause__
    if found is None and isinstance(error.__context__, OSError):
        return error.__context__
    return found if isinstance(found, BaseException) else None
