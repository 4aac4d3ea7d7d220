"""One sign-in with an identity provider: what is remembered between the two requests, and results.

Pure. The browser keeps the state of its sign-ins in one encrypted cookie, so that any node can
complete them and an abandoned sign-in leaves nothing behind.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

LIFE = 600
"""Seconds between the start and the end of a sign-in."""
MAX_KEPT_TOKEN = 4000
"""Characters of an ID token that is kept for the sign-out at the provider."""
MAX_GROUPS = 1000
"""Groups of one person that are considered."""
MAX_FLOWS = 3
"""Sign-ins of one browser at a time, in several windows."""
MAX_PACKED = 2600
"""Bytes of the packed sign-ins; encrypted, they must fit into a cookie of 4096 bytes."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in that has begun."""

    provider: str
    wanted: str
    """Path of the page to open afterwards."""
    client: str
    """The browser, where its cookies are shared with scripts of the application."""
    user_id: str = ""
    """The signed-in user who connects the identity; empty: a sign-in."""
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    """PKCE (RFC 7636, 4.1)."""
    begun: int = field(default_factory=lambda: int(time.time()))


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """The statements of a provider about the person who signed in."""

    provider: str
    issuer: str
    subject: str
    email: str = ""
    is_verified: bool = False
    username: str = ""
    full_name: str = ""
    groups: frozenset[str] = frozenset()
    has_second_factor: bool = False
    """Whether the person used several factors there (``amr``)."""
    sid: str = ""
    """The provider's session, if it names one."""
    id_token: str = ""

    def to_json(self) -> str:
        """For an encrypted cookie; without what is large."""
        values = asdict(replace(self, id_token=""))
        del values["groups"]  # they may be many, and are read again at the next sign-in
        return json.dumps(values)

    @classmethod
    def from_json(cls, raw: str) -> Self:
        """Parse what :meth:`to_json` made."""
        return cls(**json.loads(raw))


def pack(flows: list[Flow]) -> bytes:
    """The newest flows, for the cookie: as many as fit, and always the last."""
    kept = [asdict(flow) for flow in flows[-MAX_FLOWS:]]
    while len(packed := json.dumps(kept).encode()) > MAX_PACKED and len(kept) > 1:
        del kept[0]
    return packed


def unpack(raw: bytes) -> list[Flow]:
    """The flows in a cookie that are not too old."""
    flows = [Flow(**each) for each in json.loads(raw)]
    return [flow for flow in flows if 0 <= time.time() - flow.begun <= LIFE]


def account_of(
    provider: str,
    issuer: str,
    claims: Mapping[str, Any],
    *,
    trust_email: bool,
    groups_claim: str = "groups",
    id_token: str = "",
) -> ProviderAccount:
    """The account in verified claims (Core, 5.1); claims of other types are ignored."""
    email = _text(claims, "email", 254)
    verified = claims.get("email_verified")
    if isinstance(verified, str):  # some providers send a string
        verified = verified == "true"
    if verified is None and trust_email:
        verified = True
    return ProviderAccount(
        provider=provider,
        issuer=issuer,
        subject=str(claims["sub"]),
        email=email,
        is_verified=bool(email) and verified is True,
        username=_text(claims, "preferred_username", 50) or _text(claims, "nickname", 50),
        full_name=_text(claims, "name", 200),
        groups=_names(claims, groups_claim),
        has_second_factor="mfa" in _names(claims, "amr"),
        sid=_text(claims, "sid", 255),
        id_token=id_token if len(id_token) <= MAX_KEPT_TOKEN else "",
    )


def _names(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """The names in a claim: a list of strings, or one string."""
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        value = [value]
    names = value[:MAX_GROUPS] if isinstance(value, list) else []
    return frozenset(name for name in names if isinstance(name, str) and 1 <= len(name) <= 200)


def _text(claims: Mapping[str, Any], name: str, limit: int) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value.isprintable():
        return ""
    return value.strip()[:limit]
