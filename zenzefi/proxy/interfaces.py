"""What the way through needs from other parts, as small protocols: the arrows stay one-way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol
from uuid import UUID

from aiohttp import web

from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.open_connections import ClientIdentity
from zenzefi.tokens.sign_in_repository import BrowserSignIn


class TokenValidation(Protocol):
    """Who may pass (implemented by ``zenzefi.tokens.validation``)."""

    def cached(self, token: str) -> TokenAccess | None:
        """The access of a token that was validated within the last seconds."""

    async def validate(self, token: str, address: str | None = None) -> TokenAccess:
        """Raises ``TokenInvalid``, ``TokenExpired``, ``TokenRevoked``, ``DatabaseUnavailable``.

        ``address`` is the client's, so that one who guesses tokens can be slowed down.
        """

    async def activate(self, access: TokenAccess) -> TokenAccess:
        """Start the token's clock, unless it already runs."""

    def seconds_left(self, access: TokenAccess) -> int:
        """Whole seconds until the token ends, by the database's clock; never negative."""

    def register(
        self, access: TokenAccess, close: Callable[[str], None], who: ClientIdentity | None = None
    ) -> AbstractContextManager[object]:
        """While it is held, ``close(reason)`` is called as soon as the token ends, or its use by
        ``who`` is ended."""

    def is_signed_out(self, who: ClientIdentity) -> bool:
        """Whether the sign-in behind this use is known to have ended."""


class SignIns(Protocol):
    """Browsers that were signed in (implemented by ``zenzefi.tokens.sign_ins``)."""

    def cached(self, secret: str) -> BrowserSignIn | None:
        """The live sign-in of a secret that was looked up within the last seconds."""

    async def find(self, offered: Sequence[str]) -> list[tuple[str, BrowserSignIn]]:
        """The live ones among these secrets. Raises ``DatabaseUnavailable``."""

    def belongs(self, sign_in: BrowserSignIn, token: str) -> bool:
        """Whether the sign-in was made with this token."""

    async def start(
        self, access: TokenAccess, *, family: UUID | None, address: str, agent: str, is_sealed: bool
    ) -> str:
        """Sign a browser in; the secret for its cookie. Raises ``SignInRequired`` when the family
        has ended, and ``DatabaseUnavailable``."""

    async def end(self, family: UUID) -> int:
        """End all sign-ins of a family on every node. Raises ``DatabaseUnavailable``."""


class DeviceClaims(Protocol):
    """One token, one device at a time."""

    def held(self, access: TokenAccess, device_id: str) -> bool:
        """Whether this device claimed the token a moment ago, so that nothing is to be asked."""

    async def claim(self, access: TokenAccess, device_id: str) -> None:
        """Raises ``DeviceConflict`` while another device holds the token."""


class RequestTracking(Protocol):
    """One request on its way, counted while it lasts."""

    progress: Callable[[], tuple[int, int]] | None
    """Bytes received from and sent to the browser so far; set by whoever moves them."""

    def __enter__(self) -> object:
        """It begins."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """It has ended."""


class SessionTracking(Protocol):
    """Counts what flows, off the request path."""

    def begin(self, access: TokenAccess, who: ClientIdentity) -> RequestTracking:
        """A request has been admitted; the use is entered for as long as it lasts."""

    def note(
        self,
        access: TokenAccess,
        *,
        device_id: str | None,
        address: str,
        agent: str,
        received: int,
        sent: int,
        requests: int = 1,
    ) -> None:
        """Requests ended: bytes received from and sent to the browser."""


class FreeDevices:
    """The stand-in where no device claims are kept: every device may use every token."""

    def held(self, access: TokenAccess, device_id: str) -> bool:
        """Always."""
        return True

    async def claim(self, access: TokenAccess, device_id: str) -> None:
        """Nothing is refused."""


class UncountedUse:
    """One request that nobody counts."""

    progress: Callable[[], tuple[int, int]] | None = None

    def __enter__(self) -> object:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class UncountedUsage:
    """The stand-in where no sessions are kept."""

    def begin(self, access: TokenAccess, who: ClientIdentity) -> RequestTracking:
        """Nothing is kept."""
        return UncountedUse()

    def note(
        self,
        access: TokenAccess,
        *,
        device_id: str | None,
        address: str,
        agent: str,
        received: int,
        sent: int,
        requests: int = 1,
    ) -> None:
        """Nothing is kept."""


TOKEN_VALIDATOR = web.AppKey("proxy_gatekeeper", TokenValidation)
SIGN_INS = web.AppKey("proxy_sign_ins", SignIns)
DEVICE_CLAIMS = web.AppKey("proxy_device_claims", DeviceClaims)
SESSION_TRACKING = web.AppKey("proxy_usage", SessionTracking)
