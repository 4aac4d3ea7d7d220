"""Who is asking: the facts about the client that a plugin may read, and what it has read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from multidict import CIMultiDictProxy

from zenzefi.gate_cookies import is_gate_cookie
from zenzefi.origin import TOKEN_HEADER

ANYTHING = "*"
"""A read of something that no key can contain: a clock, a random value, the result of a look-up."""
CLIENT_READ = "client."
HEADER_READ = "header:"


@dataclass(slots=True, kw_only=True)  # frozen, it would take five times as long to make
class ClientFacts:
    """The client of a request as the gate has admitted it. Times are aware and in UTC."""

    user_id: str = ""
    token_id: str = ""
    scope: str = "full"
    device: str | None = None
    activated_at: datetime | None = None
    expires_at: datetime | None = None
    address: str = ""


UNKNOWN_CLIENT = ClientFacts()


class Client:
    """Who is asking. The access token itself is never shown to plugins.

    The facts that are read become part of the keys under which results are cached, so that a result
    that depends on the client is not reused for another one.
    """

    __slots__ = ("_facts", "_note")

    def __init__(self, facts: ClientFacts, note: Callable[[str], None]) -> None:
        self._facts = facts
        self._note = note

    def _read(self, name: str) -> ClientFacts:
        self._note(CLIENT_READ + name)
        return self._facts

    @property
    def user_id(self) -> str:
        """The ID of the account that owns the access token."""
        return self._read("user_id").user_id

    @property
    def token_id(self) -> str:
        """The ID of the access token, which is not its value."""
        return self._read("token_id").token_id

    @property
    def scope(self) -> str:
        """The name of the token's scope."""
        return self._read("scope").scope

    @property
    def device(self) -> str | None:
        """The ``X-Device-ID`` of a desktop client; ``None`` for other clients."""
        return self._read("device").device

    @property
    def activated_at(self) -> datetime | None:
        """The time of the token's first use, in UTC; ``None`` before it."""
        return self._read("activated_at").activated_at

    @property
    def expires_at(self) -> datetime | None:
        """The time when the token ends, in UTC; ``None`` before its first use."""
        return self._read("expires_at").expires_at

    @property
    def address(self) -> str:
        """The client's IP address."""
        return self._read("address").address


_TOKEN_IN_URL = re.compile(r"token=[A-Za-z0-9_-]{64}(?=&|#|$)")


class HeaderView(Mapping[str, str]):
    """The request's headers, without the gate's own credentials. Names in any case.

    Of a repeated header ``[]`` and ``get`` return the first value, ``getall`` all of them.
    """

    __slots__ = ("_headers", "_note")

    def __init__(self, headers: CIMultiDictProxy[str], note: Callable[[str], None]) -> None:
        self._headers = headers
        self._note = note

    def getall(self, name: str, default: Sequence[str] = ()) -> list[str]:
        """All values of a header, in order."""
        self._note(HEADER_READ + name.lower())
        return self._shown(name) or list(default)

    def _shown(self, name: str) -> list[str]:
        lower = name.lower()
        if lower == _TOKEN_HEADER:
            return []
        values = self._headers.getall(name, ())
        if lower == "cookie":
            values = [kept for value in values if (kept := without_gate_cookies(value))]
        elif any("token=" in value for value in values):
            values = [_TOKEN_IN_URL.sub("", value) for value in values]
        return list(values)

    def __getitem__(self, name: str) -> str:
        values = self.getall(name)
        if not values:
            raise KeyError(name)
        return values[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.getall(name))

    def __iter__(self) -> Iterator[str]:
        self._note(ANYTHING)
        seen = dict.fromkeys(name for name in self._headers if self._shown(name))
        return iter(seen)

    def __len__(self) -> int:
        return len(list(iter(self)))


_TOKEN_HEADER = TOKEN_HEADER.lower()


def without_gate_cookies(value: str) -> str:
    """A ``Cookie`` header without the cookies of the gate; ``""`` if nothing is left."""
    if "zenzefi" not in value.lower():
        return value
    kept = [part for part in value.split(";") if not is_gate_cookie(part.partition("=")[0].strip())]
    return ";".join(kept).strip()
