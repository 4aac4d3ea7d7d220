"""The interfaces that the reverse proxy requires from other packages, as protocols."""

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
    """Validation of access tokens (implemented by ``zenzefi.tokens.validation``)."""

    def cached(self, token: str) -> TokenAccess | None:
        """The access of a token in the in-process cache, or ``None``."""

    async def validate(self, token: str, address: str | None = None) -> TokenAccess:
        """The access of a token.

        ``address`` is the client's address, for the limit of unknown tokens. Raises
        ``TokenInvalid``, ``TokenExpired``, ``TokenRevoked`` and ``DatabaseUnavailable``.
        """

    async def activate(self, access: TokenAccess) -> TokenAccess:
        """Activate the token unless it is activated already, and return its access."""

    def seconds_left(self, access: TokenAccess) -> int:
        """Whole seconds until the token expires, by the database's clock; never negative."""

    def register(
        self,
        access: TokenAccess,
        close: Callable[[str], None],
        client: ClientIdentity | None = None,
    ) -> AbstractContextManager[object]:
        """Register an open connection while the context is open.

        ``close(reason)`` is called when the token ends, or the session or sign-in of ``client``.
        """

    @property
    def is_closing(self) -> bool:
        """Whether registered connections wait to be closed in a later step of the event loop."""

    def is_signed_out(self, client: ClientIdentity) -> bool:
        """Whether the client's sign-in is known to have ended."""


class SignIns(Protocol):
    """Sign-ins of browsers (implemented by ``zenzefi.tokens.sign_ins``)."""

    def cached(self, secret: str) -> BrowserSignIn | None:
        """The sign-in of a secret in the in-process cache, or ``None``."""

    async def find(self, offered: Sequence[str]) -> list[tuple[str, BrowserSignIn]]:
        """The secrets that belong to a sign-in. Raises ``DatabaseUnavailable``."""

    def belongs(self, sign_in: BrowserSignIn, token: str) -> bool:
        """Whether the sign-in was made with this token."""

    async def start(
        self, access: TokenAccess, *, family: UUID | None, address: str, agent: str, is_sealed: bool
    ) -> str:
        """Sign a browser in and return the secret for its cookie.

        Raises ``SignInRequired`` if the family has ended, and ``DatabaseUnavailable``.
        """

    async def end(self, family: UUID) -> int:
        """End the sign-ins of a family on every node. Raises ``DatabaseUnavailable``."""


class DeviceClaims(Protocol):
    """Device claims (implemented by ``zenzefi.tokens.devices``)."""

    def has_claim(self, access: TokenAccess, device_id: str) -> bool:
        """Whether the device may use the token without :meth:`claim`."""

    async def claim(self, access: TokenAccess, device_id: str) -> None:
        """Claim the token. Raises ``DeviceConflict`` if another device has the claim."""


class RequestTracking(Protocol):
    """One request in progress, counted while it lasts."""

    progress: Callable[[], tuple[int, int]] | None
    """Returns the bytes received from and sent to the client so far."""

    def __enter__(self) -> object:
        """Begin the request."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the request."""


class SessionTracking(Protocol):
    """Counting of requests (implemented by ``zenzefi.tokens.sessions``)."""

    def begin(self, access: TokenAccess, client: ClientIdentity) -> RequestTracking:
        """Track an admitted request. Enter the result for as long as the request lasts."""

    def note(
        self,
        access: TokenAccess,
        *,
        device_id: str | None,
        address: str,
        agent: str,
        bytes_in: int,
        bytes_out: int,
        requests: int = 1,
    ) -> None:
        """Count requests that have ended, with the bytes from (in) and to (out) the client."""


TOKEN_VALIDATOR = web.AppKey("proxy_token_validator", TokenValidation)
SIGN_INS = web.AppKey("proxy_sign_ins", SignIns)
DEVICE_CLAIMS = web.AppKey("proxy_device_claims", DeviceClaims)
SESSION_TRACKING = web.AppKey("proxy_session_tracking", SessionTracking)
