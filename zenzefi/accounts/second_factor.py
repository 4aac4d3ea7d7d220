"""Two-step sign-in: codes of an authenticator app (TOTP, RFC 6238), and recovery codes.

A code is valid once (RFC 6238, 5.2): a conditional UPDATE stores its time step, so of two requests
with the same code one succeeds. Recovery codes are stored as keyed hashes, each valid once.
Attempts are counted before the code is checked (``rate_limits/middleware.py``), across all nodes,
so concurrent attempts can't exceed the limit.
"""

from __future__ import annotations

import re
import secrets
import time
from base64 import b32encode
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from aiohttp import web
from sqlalchemy import delete, func, or_, select, update

from zenzefi.accounts.errors import SecondFactorRejected
from zenzefi.accounts.links import Purpose, end_links
from zenzefi.accounts.models import recovery_codes, users
from zenzefi.audit.log import Actor, record
from zenzefi.db.async_engine import AsyncConnection
from zenzefi.db.base import utcnow
from zenzefi.db.engine import Database
from zenzefi.errors import NotFound
from zenzefi.keys import Keyring

CODES = 10
_STEP = 30  # seconds
_SECRET_SIZE = 20  # bytes; RFC 4226, 4: 160 bits are recommended
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without characters that look alike
_FAILED = "user.second_factor_failed"
_PURPOSE = "recovery-code"
Attempt = AbstractAsyncContextManager[None]
"""Entering it counts the attempt or raises ``RateLimited``; a normal exit undoes the count."""


class SecondFactor:
    """The service of two-step sign-in."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def prepare(self, user_id: UUID) -> str:
        """The secret (base32) for the authenticator app; the same until it is enabled or disabled.

        Raises ``NotFound`` if two-step sign-in is enabled: the secret is not shown again.
        """
        async with self._database.begin() as connection:
            row = (
                await connection.execute(
                    select(users.c.totp_secret, users.c.totp_enabled_at).where(
                        users.c.id == user_id
                    )
                )
            ).one_or_none()
            if row is None or row.totp_enabled_at is not None:
                raise NotFound
            if row.totp_secret is not None:
                return self._keyring.decrypt(row.totp_secret).decode("ascii")
            secret = b32encode(secrets.token_bytes(_SECRET_SIZE)).decode("ascii")
            await connection.execute(
                update(users)
                .where(users.c.id == user_id, users.c.totp_enabled_at.is_(None))
                .values(totp_secret=self._keyring.encrypt(secret.encode("ascii")))
            )
        return secret

    @staticmethod
    def uri(secret: str, email: str, issuer: str) -> str:
        """The ``otpauth://`` URI for the QR code; ``issuer`` is the site's name in the app."""
        import pyotp

        return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)

    async def enable(self, actor: Actor, user_id: UUID, code: str, attempt: Attempt) -> list[str]:
        """Enable two-step sign-in with a first code, and return the recovery codes.

        Raises ``SecondFactorRejected``, and what entering ``attempt`` raises.
        """
        secret = await self.prepare(user_id)
        async with attempt:
            step = _step_of(secret, code)
            if step is None:
                await self._failed(actor, user_id)
                raise SecondFactorRejected
        async with self._database.begin() as connection:
            await connection.execute(
                update(users)
                .where(users.c.id == user_id)
                .values(totp_enabled_at=utcnow(), totp_last_step=step)
            )
            await record(connection, actor, "user.second_factor_on", "user", user_id)
            return await self._fresh_codes(connection, user_id)

    async def disable(self, actor: Actor, user_id: UUID) -> None:
        """Disable two-step sign-in; deletes the secret and the recovery codes.

        Ends the links for a password or the second step, like a new password.
        """
        async with self._database.begin() as connection:
            await connection.execute(
                update(users)
                .where(users.c.id == user_id)
                .values(totp_secret=None, totp_enabled_at=None, totp_last_step=None)
            )
            await connection.execute(
                delete(recovery_codes).where(recovery_codes.c.user_id == user_id)
            )
            await end_links(connection, user_id, Purpose.RESET, Purpose.SECOND_FACTOR)
            await record(connection, actor, "user.second_factor_off", "user", user_id)

    async def check(self, actor: Actor, user_id: UUID, code: str, attempt: Attempt) -> None:
        """Verify and use a code of the app or a recovery code.

        Raises ``SecondFactorRejected``, and what entering ``attempt`` raises.
        """
        async with attempt:
            if await self._is_app_code(user_id, code) or await self._is_recovery_code(
                actor, user_id, code
            ):
                return
            await self._failed(actor, user_id)
            raise SecondFactorRejected

    async def _is_app_code(self, user_id: UUID, code: str) -> bool:
        async with self._database.begin() as connection:
            sealed = (
                await connection.execute(
                    select(users.c.totp_secret).where(
                        users.c.id == user_id, users.c.totp_enabled_at.is_not(None)
                    )
                )
            ).scalar_one_or_none()
            if sealed is None:
                return False
            step = _step_of(self._keyring.decrypt(sealed).decode("ascii"), code)
            if step is None:
                return False
            last = users.c.totp_last_step
            done = await connection.execute(
                update(users)
                .where(users.c.id == user_id, or_(last.is_(None), last < step))
                .values(totp_last_step=step)
            )
            return done.rowcount == 1

    async def _is_recovery_code(self, actor: Actor, user_id: UUID, code: str) -> bool:
        plain = re.sub(r"[\s-]", "", code).lower()
        async with self._database.begin() as connection:
            done = await connection.execute(
                update(recovery_codes)
                .where(
                    recovery_codes.c.user_id == user_id,
                    recovery_codes.c.used_at.is_(None),
                    recovery_codes.c.secret_index.in_(self._indexes(user_id, plain)),
                )
                .values(used_at=utcnow())
            )
            if done.rowcount == 1:
                await record(connection, actor, "user.recovery_code_used", "user", user_id)
                return True
        return False

    async def new_codes(self, actor: Actor, user_id: UUID) -> list[str]:
        """Replace all recovery codes."""
        async with self._database.begin() as connection:
            await record(connection, actor, "user.recovery_codes_renewed", "user", user_id)
            return await self._fresh_codes(connection, user_id)

    async def codes_left(self, user_id: UUID) -> int:
        """The number of unused recovery codes."""
        query = (
            select(func.count())
            .select_from(recovery_codes)
            .where(recovery_codes.c.user_id == user_id, recovery_codes.c.used_at.is_(None))
        )
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def _fresh_codes(self, connection: AsyncConnection, user_id: UUID) -> list[str]:
        await connection.execute(delete(recovery_codes).where(recovery_codes.c.user_id == user_id))
        codes = ["".join(secrets.choice(_ALPHABET) for _ in range(10)) for _ in range(CODES)]
        await connection.execute(
            recovery_codes.insert(),
            [
                {"user_id": user_id, "secret_index": self._indexes(user_id, code)[0]}
                for code in codes
            ],
        )
        return [f"{code[:5]}-{code[5:]}" for code in codes]

    def _indexes(self, user_id: UUID, code: str) -> list[bytes]:
        return self._keyring.indexes(_PURPOSE, f"{user_id}:{code}")

    async def _failed(self, actor: Actor, user_id: UUID) -> None:
        async with self._database.begin() as connection:
            await record(connection, actor, _FAILED, "user", user_id)


def _step_of(secret: str, code: str) -> int | None:
    """The time step of a code (RFC 6238, 4.2): the current, the previous or the next one."""
    digits = re.sub(r"\s", "", code)
    if not (len(digits) == 6 and digits.isascii() and digits.isdigit()):
        return None
    import pyotp

    totp = pyotp.TOTP(secret)
    now = int(time.time()) // _STEP
    for step in (now, now - 1, now + 1):
        if secrets.compare_digest(totp.generate_otp(step), digits):
            return step
    return None


SECOND_FACTOR: web.AppKey[SecondFactor] = web.AppKey("second_factor", SecondFactor)
