"""Does what the settings name really work? One question each.

The cheap ones (``ping_*``, :func:`check_upstream`) are asked by the background health check; the
thorough ones, which also write, by ``zenzefi check``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
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

if TYPE_CHECKING:
    from redis.asyncio import Redis

AGENT = "zenzefi-health"
"""How the background check names itself, so that an operator can leave it out of statistics."""
TIMEOUT = 5.0
"""Seconds that one check may take."""


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one question: whether it works, and what was seen, in plain words.

    ``is_setting``: when it does not, a setting is wrong; else something can't be reached.
    """

    name: str
    ok: bool
    detail: str
    is_setting: bool = False


# --- the database


async def check_database(database: Database, *, automatic: bool = False) -> Check:
    """Whether the database answers, has this program's schema, and lets it write.

    ``automatic``: an outdated schema is fine, because serving migrates it by itself.
    """
    name = "database"
    try:
        async with Deadline(TIMEOUT):
            version = await _version(database)
            found, needed = await migrate.current(database), migrate.head()
            refusal = await _why_not_writable(database)
    except (DatabaseUnavailable, TimeoutError) as error:
        return Check(name, ok=False, detail=f"{_place(database)} can't be used{reason(error)}")
    if refusal:
        return Check(name, ok=False, detail=f"{version} {refusal}")
    if found == needed:
        return Check(name, ok=True, detail=f"{version}, schema {found}, takes writes")
    if automatic:
        return Check(name, ok=True, detail=f"{version}, will be migrated by zenzefi serve")
    state = "empty" if found is None else f"at {found}"
    return Check(name, ok=False, detail=f"{version}, schema {state}: run zenzefi migrate")


async def ping_database(
    database: Database, *, writes: bool = False, seconds: float | None = None
) -> Check:
    """Whether the database can be read within ``seconds``, and with ``writes`` takes writes."""
    try:
        async with Deadline(TIMEOUT if seconds is None else seconds):
            await probe.read(database)
            if writes:
                await probe.write(database)
    except DatabaseNotWritable as error:
        detail = f"{_place(database)} takes no writes{reason(error)}"
        return Check("database", ok=False, detail=detail)
    except (DatabaseUnavailable, TimeoutError) as error:
        detail = f"{_place(database)} can't be reached{reason(error)}"
        return Check("database", ok=False, detail=detail)
    return Check("database", ok=True, detail="answers")


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
    """What is said about a database that only reads; empty for one that takes writes."""
    # On SQLite a transaction here takes the write lock at once, which a read-only file refuses.
    async with database.begin() as connection:
        if database.dialect == "sqlite":
            return ""
        read_only = (await connection.execute(text("SHOW transaction_read_only"))).scalar_one()
        if read_only == "on":
            return "is read-only: a standby? Name the primary"
        table = (await connection.execute(text(_UNWRITABLE))).scalar_one_or_none()
    return f"does not let this user write (table {table})" if table else ""


# --- Redis


async def ping_redis(dsn: str) -> Check:
    """Whether Redis answers; the cheap question."""
    async with _redis(dsn) as (client, answer):
        await client.ping()
        answer.append(Check("redis", ok=True, detail="answers"))
    return answer[-1]


async def check_redis(dsn: str) -> Check:
    """Whether Redis answers, keeps what it is given and passes messages on."""
    async with _redis(dsn) as (client, answer):
        version = (await client.info("server")).get("redis_version", "?")
        # Names that the gate itself uses: an access list may allow no others.
        mark = secrets.token_hex(8)
        key, channel = f"active_token:check-{mark}", "zenzefi:ended"
        await client.set(key, mark, ex=int(TIMEOUT) * 2, nx=True)
        kept = await client.get(key)
        await client.delete(key)
        async with client.pubsub() as subscription:
            await subscription.subscribe(channel)
            await client.publish(channel, mark)
            heard = False
            async for message in subscription.listen():
                heard = message["type"] == "message" and message["data"] == mark.encode()
                if heard:
                    break
        ok = kept == mark.encode() and heard
        detail = f"Redis {version}, keeps entries and passes messages on"
        answer.append(Check("redis", ok=ok, detail=detail if ok else f"Redis {version} forgets"))
    return answer[-1]


@contextlib.asynccontextmanager
async def _redis(dsn: str) -> AsyncIterator[tuple[Redis, list[Check]]]:
    """A client, and a list for the answer: the failure is in it when the block did not end."""
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    client = Redis.from_url(dsn, socket_timeout=TIMEOUT * 6, socket_connect_timeout=TIMEOUT * 6)
    options = client.connection_pool.connection_kwargs
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    answer: list[Check] = []
    try:
        async with Deadline(TIMEOUT):
            yield client, answer
    except (RedisError, OSError, TimeoutError) as error:
        detail = f"{place} can't be used{reason(error) or f' ({scrubbed(error)})'}"
        answer.append(Check("redis", ok=False, detail=detail))
    finally:
        await client.aclose()


# --- the upstream


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
            Deadline(TIMEOUT),
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                auth=auth,
                headers={"User-Agent": AGENT},
            ) as session,
            session.get(
                f"{origin}/", allow_redirects=False, ssl=await asyncio.to_thread(tls, settings)
            ) as response,
        ):
            status, location = response.status, response.headers.get("Location", "")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Check("upstream", ok=False, detail=f"{origin} {_why_unreached(error)}")
    if status in (502, 503, 504):
        return Check("upstream", ok=False, detail=f"{origin} answers {status}")
    elsewhere = re.match(r"(?i)https?://[^/?#]+", location) if 300 <= status < 400 else None
    detail = f"{origin} answers {status}"
    with contextlib.suppress(ValueError):
        if elsewhere and parse_origin(elsewhere[0]) != origin:
            detail += f" and leads to {elsewhere[0]}: is that the application?"
    return Check("upstream", ok=True, detail=detail)


def _why_unreached(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"has another certificate than the pinned one: its SHA-256 is {error.got.hex()}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        why = getattr(inner, "verify_message", "") or scrubbed(inner)
        return (
            f"has a certificate that can't be verified ({why}): "
            "name its authority in ZENZEFI_CA_FILE, or pin it with ZENZEFI_PINNED_SHA256"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "can't be reached (there is no such host)"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"can't be reached ({plain(error.os_error)})"
    if isinstance(error, TimeoutError):
        return f"does not answer within {TIMEOUT:g} seconds"
    return f"can't be reached ({plain(error)})"


def tls(settings: Settings) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
    """How the upstream's certificate is verified. Raises ``OSError`` for an unusable CA file."""
    if settings.zenzefi_pinned_sha256:
        return aiohttp.Fingerprint(bytes.fromhex(settings.zenzefi_pinned_sha256))
    if not settings.zenzefi_verify_ssl:
        return False
    if settings.zenzefi_ca_file:
        return ssl.create_default_context(cafile=str(settings.zenzefi_ca_file))
    return True


def fingerprint(settings: Settings) -> str:
    """Which secret key is in use: tells two nodes apart and nothing more."""
    key = settings.secret_key.get_secret_value()
    return hashlib.sha256(b"zenzefi fingerprint" + key.encode()).hexdigest()[:8]


# --- errors in plain words


def plain(error: BaseException) -> str:
    """One error in a few words: what the system says, without numbers and addresses."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and isinstance(number, int) and number > 0:
        return os.strerror(number)
    return scrubbed(error)


def scrubbed(error: BaseException) -> str:
    """The first line of an error, without the password that a URL in it may hold."""
    from zenzefi.observability.logs import Scrubber

    lines = str(error).strip().splitlines()
    return Scrubber()(lines[0] if lines else type(error).__name__).rstrip(".")


def reason(error: BaseException) -> str:
    """`` (the innermost cause)`` in one line; empty when there is none that says anything."""
    inner: BaseException = error
    while (deeper := _deeper(inner)) is not None:
        inner = deeper
    if isinstance(inner, TimeoutError) and not str(inner):
        return f" (no answer within {TIMEOUT:g} seconds)"
    return f" ({plain(inner)})" if inner is not error and str(inner) else ""


def _deeper(error: BaseException) -> BaseException | None:
    """What this one wraps; redis-py names no cause, but raises while it handles the system's."""
    found = getattr(error, "orig", None) or error.__cause__
    if found is None and isinstance(error.__context__, OSError):
        return error.__context__
    return found if isinstance(found, BaseException) else None
