"""Password hashes: argon2id, in a few threads of their own; bcrypt ones still verify.

Parameters: 46 MiB, one pass, one lane (OWASP Password Storage Cheat Sheet, first choice for
argon2id). Hashing takes tens of milliseconds, so it never runs on the event loop, and the queue
for it is bounded: a flood of sign-ins is answered with 503 instead of piling up.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from passlib.context import CryptContext

from zenzefi.errors import Unavailable

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
_BCRYPT_LIMIT = 72  # bytes; bcrypt never looked at more


@functools.cache
def _dummy_hash() -> str:
    return str(_context.hash("a password that nobody has"))


def _verify(password: str, known: str | None) -> tuple[bool, str | None]:
    if known is None:
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
    """Hashing and verification off the event loop; close it at the end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._waiting = 0

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._waiting >= _WAITING:
            raise Unavailable("Too many people are signing in right now. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    async def hash(self, password: str) -> str:
        """The argon2id hash. Raises ``Unavailable`` when too many wait."""
        return await self._run(lambda: str(_context.hash(password)))

    async def verify(self, password: str, known: str | None) -> tuple[bool, str | None]:
        """Whether it matches, and a better hash to keep where the known one is of an old kind.

        ``known=None`` (there is no such account) takes as long as a wrong password.
        """
        return await self._run(lambda: _verify(password, known))

    async def warm_up(self) -> None:
        """Make the hash that unknown accounts are compared with before the first sign-in."""
        await self._run(_dummy_hash)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)
