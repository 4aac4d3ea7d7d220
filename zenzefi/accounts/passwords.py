"""Password hashes: argon2id, computed in separate threads; bcrypt hashes can be verified.

Parameters: 46 MiB, one iteration, parallelism 1 (OWASP Password Storage Cheat Sheet, first choice
for argon2id). Hashing takes tens of milliseconds, so it runs in threads, not on the event loop.
Their queue is bounded: if too many sign-ins wait, further ones receive 503.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from passlib.context import CryptContext

from zenzefi.errors import Unavailable

NO_PASSWORD = ""
"""Stored instead of a hash: the account has no password, or it was deleted."""
_THREADS = 2
_WAITING = 100
_T = TypeVar("_T")

_context = CryptContext(
    schemes=["argon2", "bcrypt"],
    deprecated=["bcrypt"],
    argon2__type="ID",
    argon2__memory_cost=46 * 1024,
    argon2__time_cost=1,
    argon2__parallelism=1,
)
_BCRYPT_LIMIT = 72  # bytes; bcrypt ignores the rest


@functools.cache
def _dummy_hash() -> str:
    return str(_context.hash("the password of an unknown account"))


def prepare() -> None:
    """Compute the hash for unknown accounts, before the first sign-in needs it."""
    _dummy_hash()


def _verify(password: str, known: str | None) -> tuple[bool, str | None]:
    if not known:  # also NO_PASSWORD
        _context.verify(password, _dummy_hash())
        return False, None
    if known.startswith("$2"):
        if "\0" in password:
            return False, None
        cut = password.encode()[:_BCRYPT_LIMIT]
        if not _context.verify(cut, known):
            return False, None
        return True, str(_context.hash(password))
    good, better = _context.verify_and_update(password, known)
    return bool(good), better


class Passwords:
    """Hashes and verifies passwords in threads; call :meth:`close` at shutdown."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._waiting = 0

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= _WAITING:
            raise Unavailable("Too many users are signing in right now. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    async def hash(self, password: str) -> str:
        """The argon2id hash. Raises ``Unavailable`` if the queue is full."""
        return await self._run(lambda: str(_context.hash(password)))

    async def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        """Whether the password matches, and a new hash to store if the known one is outdated.

        ``known=None`` (unknown account) and ``NO_PASSWORD`` take as long as a wrong password.
        Raises ``Unavailable``.
        """
        return await self._run(lambda: _verify(password, known))

    async def warm_up(self) -> None:
        """Call :func:`prepare` in a thread."""
        await self._run(prepare)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
