"""Device claims and sessions for gates that have only the proxy in them: nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from zenzefi.proxy.interfaces import RequestTracking
from zenzefi.tokens.access import TokenAccess
from zenzefi.tokens.open_connections import ClientIdentity


class FreeDevices:
    """No device claims: every device may use every token."""

    def has_claim(self, access: TokenAccess, device_id: str) -> bool:
        return True

    async def claim(self, access: TokenAccess, device_id: str) -> None:
        pass


class UncountedRequest:
    """One request that no session counts."""

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


class NoSessions:
    """No sessions are kept."""

    def begin(self, access: TokenAccess, client: ClientIdentity) -> RequestTracking:
        return UncountedRequest()

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
        pass
