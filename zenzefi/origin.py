"""Where a browser sees the upstream: the pure value that every mapping uses.

How a request's mount is decided lives in ``zenzefi.proxy.mount``; this module knows only values.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

PROXY_PREFIX = "/api/v1/proxy"
"""Path of the gate below which clients see the upstream, unless they use a separate origin."""
TOKEN_HEADER = "X-Access-Token"  # noqa: S105 - the name of a header
"""The access token of a request."""
TOKEN_CHALLENGE = f'AccessToken header="{TOKEN_HEADER}"'
"""``WWW-Authenticate`` where an access token is required. Browsers ignore an unknown scheme."""
DEVICE_HEADER = "X-Device-ID"
"""The device that a client claims the token for."""

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A web origin (RFC 6454): scheme, host, port, all normalised.

    ``scheme`` is ``http`` or ``https``; ``host`` is lower-case ASCII (IPv6 with brackets);
    ``port`` is always explicit.
    """

    scheme: str
    host: str
    port: int
    authority: str = field(init=False, compare=False, repr=False)
    """``host`` or ``host:port``, as a Host header spells it: without the default port."""
    _text: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        is_default = DEFAULT_PORTS[self.scheme] == self.port
        authority = self.host if is_default else f"{self.host}:{self.port}"
        object.__setattr__(self, "authority", authority)
        object.__setattr__(self, "_text", f"{self.scheme}://{authority}")

    def __str__(self) -> str:
        """The ASCII serialisation: the default port is left out."""
        return self._text


class MountKind(enum.StrEnum):
    """The three places at which the same upstream must work."""

    PREFIX = "prefix"
    ORIGIN = "origin"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Mount:
    """The place where this browser sees the upstream's root.

    ``public`` is the origin in the browser's address bar; ``prefix`` is ``""`` for a root mount,
    else a path that starts with ``/`` and does not end in one (``/api/v1/proxy``).
    """

    kind: MountKind
    public: Origin
    prefix: str = ""
    root: str = field(init=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.prefix and (not self.prefix.startswith("/") or self.prefix.endswith("/")):
            raise ValueError(
                f"a mount's prefix starts with a slash and does not end in one: {self.prefix!r}"
            )
        object.__setattr__(self, "root", f"{self.public}{self.prefix}/")
        object.__setattr__(self, "_hash", hash((self.kind, self.public, self.prefix)))

    def __hash__(self) -> int:
        """Computed once: each request looks up what belongs to its mount."""
        return self._hash

    @property
    def is_root(self) -> bool:
        """Whether the upstream's root is the root of the public origin."""
        return not self.prefix
