"""One-time tickets that carry a sign-in from the gate's host to the upstream's own origin.

A ticket is an encrypted token that expires in seconds, made for one browser
(:mod:`zenzefi.proxy.sign_in` describes how it is recognised). It works once, on any node that
shares the key and the store of used tickets.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import NamedTuple, Protocol
from uuid import UUID

from cryptography.fernet import InvalidToken

from zenzefi.bounded import BoundedDict
from zenzefi.keys import Keyring
from zenzefi.proxy.errors import SignInLinkInvalid
from zenzefi.tokens.redis_cache import RedisCache

ENTER_PATH = "/.well-known/zenzefi/enter"
"""The sign-in path at the application's origin (RFC 8615)."""

LIFE_SECONDS = 60
_MAX_SPENT = 10_000


class SpentTickets(Protocol):
    """The memory of tickets that were used, shared by all nodes."""

    async def spend(self, ticket_id: str, life_seconds: int) -> bool:
        """Whether this is the first use."""


class SpentInProcess:
    """Spent tickets of a single node; bounded, and as long as a ticket could live."""

    def __init__(self, max_spent: int = _MAX_SPENT) -> None:
        self._spent: BoundedDict[str, float] = BoundedDict(max_spent)

    async def spend(self, ticket_id: str, life_seconds: int) -> bool:
        """Whether this is the first use."""
        now = time.monotonic()
        while (oldest := self._spent.oldest()) is not None and oldest[1] < now:
            del self._spent[oldest[0]]
        if ticket_id in self._spent:
            return False
        self._spent[ticket_id] = now + life_seconds
        return True


class SpentEverywhere:
    """Spent tickets of all nodes, in Redis; while it is away, each node remembers its own."""

    def __init__(self, redis_cache: RedisCache, max_spent: int = _MAX_SPENT) -> None:
        self._redis_cache = redis_cache
        self._here = SpentInProcess(max_spent)

    async def spend(self, ticket_id: str, life_seconds: int) -> bool:
        """Whether this is the first use."""
        first_here = await self._here.spend(ticket_id, life_seconds)
        first = await self._redis_cache.spend(f"ticket:{ticket_id}", life_seconds)
        return first_here and first is not False


def spent_tickets(redis_cache: RedisCache | None, max_spent: int = _MAX_SPENT) -> SpentTickets:
    """The memory of this node, shared by all nodes if Redis is configured.

    Each node keeps the last ``max_spent`` tickets itself.
    """
    if redis_cache is None:
        return SpentInProcess(max_spent)
    return SpentEverywhere(redis_cache, max_spent)


class Ticket(NamedTuple):
    """The content of a ticket: the token, and the mark of the nonce (:meth:`Tickets.mark`)."""

    token: str
    browser: str
    family: UUID | None = None
    """The page session or the family of sign-ins from which it comes."""


class Tickets:
    """Issues and redeems tickets under keys derived from ``SECRET_KEY``."""

    def __init__(self, keyring: Keyring, spent: SpentTickets) -> None:
        self._fernet = keyring.fernet("proxy-tickets")
        self._signer = keyring.signer("proxy-ticket-marks")
        self._spent = spent

    def mark(self, nonce: str, client: str) -> str:
        """64 hex digits that stand for a nonce in one client.

        Under a key of the gate: an attacker who plants a nonce can't compute its mark in
        another network. ``client`` is empty where no script can write the nonce's cookie.
        """
        return self._signer.sign("nonce", nonce, client)

    def is_mark(self, mark: str, nonce: str, client: str) -> bool:
        """Whether the mark stands for this nonce in this client, under any key in the settings."""
        return self._signer.is_valid(mark, "nonce", nonce, client)

    def issue(self, token: str, browser: str, family: UUID | None = None) -> str:
        """A ticket for the holder of ``token`` in the browser whose nonce has this mark.

        The sign-in that it makes ends with ``family``, a page session or a family of sign-ins.
        """
        body = {"i": secrets.token_urlsafe(12), "t": token, "b": browser}
        if family is not None:
            body["f"] = str(family)
        return self._fernet.encrypt(json.dumps(body).encode()).decode()

    async def redeem(self, ticket: str) -> Ticket:
        """The content of the ticket, which is used up by this call, also if the caller refuses it.

        Raises :class:`SignInLinkInvalid` if it is forged, expired or used.
        """
        try:
            body = json.loads(self._fernet.decrypt(ticket.encode(), ttl=LIFE_SECONDS))
            family = UUID(body["f"]) if "f" in body else None
            found = Ticket(body["t"], body["b"], family)
        except (InvalidToken, ValueError, KeyError):
            raise SignInLinkInvalid from None
        if not await self._spent.spend(body["i"], LIFE_SECONDS * 2):
            raise SignInLinkInvalid
        return found


def local_path(path: str) -> str:
    """Path and query if they are such, else ``/``. To be put behind an origin: see :func:`address`.

    A backslash is a slash to browsers in the path, and itself in the query (WHATWG URL, 4.4).
    """
    is_path = path.startswith("/") and "\\" not in path.partition("?")[0]
    return path if is_path and path.isascii() and path.isprintable() else "/"


def address(origin: str, path: str) -> str:
    """A ``Location`` at this origin for what :func:`local_path` returned; never at another one.

    By itself a path that begins with two slashes would name a host (RFC 3986, 4.2).
    """
    return origin + path if path.startswith("//") else path
