"""Does what the settings name really work? One question each, asked by ``zenzefi check`` and by
the background health check.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from dataclasses import dataclass

import aiohttp
from sqlalchemy import text

from zenzefi.config import Settings
from zenzefi.db import migrate
from zenzefi.db.engine import Database
from zenzefi.errors import DatabaseUnavailable

AGENT = "zenzefi-health"
"""How the background check names itself, so that an operator can leave it out of statistics."""
TIMEOUT = 5.0
"""Seconds that one check may take."""


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one question: whether it works, and what was seen, in plain words."""

    name: str
    ok: bool
    detail: str


async def check_database(database: Database, *, automatic: bool = False) -> Check:
    """Whether the database answers and has this program's schema.

    ``automatic``: an outdated schema is fine, because serving migrates it by itself.
    """
    name = "database"
    try:
        async with asyncio.timeout(TIMEOUT):
            version = await _version(database)
            found, needed = await migrate.current(database), migrate.head()
    except (DatabaseUnavailable, TimeoutError) as error:
        return Check(name, ok=False, detail=f"can't be reached{reason(error)}")
    if found == needed:
        return Check(name, ok=True, detail=f"{version}, schema {found}")
    if automatic:
        return Check(name, ok=True, detail=f"{version}, will be migrated by zenzefi serve")
    state = "empty" if found is None else f"at {found}"
    return Check(name, ok=False, detail=f"{version}, schema {state}: run zenzefi migrate")


async def ping_database(database: Database) -> Check:
    """Whether the database answers; the cheap question, for every half minute."""
    try:
        async with asyncio.timeout(TIMEOUT), database.read() as connection:
            await connection.execute(text("SELECT 1"))
    except (DatabaseUnavailable, TimeoutError) as error:
        return Check("database", ok=False, detail=f"can't be reached{reason(error)}")
    return Check("database", ok=True, detail="answers")


async def _version(database: Database) -> str:
    if database.dialect == "sqlite":
        query, label = "SELECT sqlite_version()", "SQLite"
    else:
        query, label = "SHOW server_version", "PostgreSQL"
    async with database.read() as connection:
        return f"{label} {(await connection.execute(text(query))).scalar_one()}"


async def check_redis(dsn: str) -> Check:
    """Whether Redis answers."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(dsn, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
    try:
        async with asyncio.timeout(TIMEOUT):
            server = await client.info("server")
    except (RedisError, OSError, TimeoutError) as error:
        return Check("redis", ok=False, detail=f"can't be reached ({scrubbed(error)})")
    finally:
        await client.aclose()
    return Check("redis", ok=True, detail=f"Redis {server.get('redis_version', '?')}")


async def check_upstream(settings: Settings) -> Check:
    """Whether the upstream answers HTTP at all. A 401 or 403 is alive: it asks who we are."""
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
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                auth=auth,
                headers={"User-Agent": AGENT},
            ) as session,
            session.get(
                f"{origin}/", allow_redirects=False, ssl=await asyncio.to_thread(tls, settings)
            ) as response,
        ):
            status = response.status
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Check("upstream", ok=False, detail=f"{origin} can't be reached ({scrubbed(error)})")
    if status in (502, 503, 504):
        return Check("upstream", ok=False, detail=f"{origin} answers {status}")
    return Check("upstream", ok=True, detail=f"{origin} answers {status}")


def tls(settings: Settings) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
    """How the upstream's certificate is verified. Raises ``OSError`` for an unusable CA file."""
    if settings.zenzefi_pinned_sha256:
        return aiohttp.Fingerprint(bytes.fromhex(settings.zenzefi_pinned_sha256))
    if not settings.zenzefi_verify_ssl:
        return False
    if settings.zenzefi_ca_file:
        return ssl.create_default_context(cafile=str(settings.zenzefi_ca_file))
    return True


def check_key(settings: Settings) -> Check:
    """Which key is in use, by a fingerprint that tells two nodes apart and nothing more."""
    key = settings.secret_key.get_secret_value()
    mark = hashlib.sha256(b"zenzefi fingerprint" + key.encode()).hexdigest()[:8]
    return Check("secret key", ok=True, detail=f"fingerprint {mark} (the same on every node)")


def scrubbed(error: BaseException) -> str:
    """The first line of an error, without the password that a URL in it may hold."""
    from zenzefi.ops.logs import Scrubber

    lines = str(error).strip().splitlines()
    return Scrubber()(lines[0] if lines else type(error).__name__).rstrip(".")


def reason(error: BaseException) -> str:
    """`` (the innermost cause)`` in one line; empty when there is none that says anything."""
    inner: BaseException = error
    while (deeper := getattr(inner, "orig", None) or inner.__cause__) is not None:
        inner = deeper
    return f" ({scrubbed(inner)})" if inner is not error and str(inner) else ""
