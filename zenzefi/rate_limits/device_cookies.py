"""Device cookies: a browser that signed in to an account before has its own count of attempts.

Sign-in attempts are counted per account, so an attacker who knows the e-mail address could use them
up continuously and lock the owner out. A browser that signed in once keeps a signed cookie, and its
attempts are counted by that cookie instead. The cookie does not help an attacker: it is issued only
after a successful sign-in and has the same limit (OWASP, Slow Down Online Guessing Attacks with
Device Cookies).
"""

from __future__ import annotations

import hashlib
import re
import secrets

from aiohttp import web

from zenzefi.gate_cookies import DEVICE, SEAL
from zenzefi.keys import KEYRING

NAME = DEVICE
LIFE = 365 * 86400
"""Lifetime of the cookie, in seconds."""

MAX_EMAIL = 254
"""Characters of an e-mail address that are significant (RFC 5321, 4.5.3.1.3)."""

_PURPOSE = "known-browser"
_COOKIE = re.compile(r"([A-Za-z0-9_-]{24})\.([0-9a-f]{64})")


def account_mark(email: str) -> str:
    """The key of an account in the counters.

    Hashed, as an address has any length and characters and should not be stored in Redis. It is
    normalized like a sign-in normalizes it, so all spellings of an account have one count.
    """
    plain = email.strip()[:MAX_EMAIL].strip().casefold()
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:32]


def cookie_for(app: web.Application, email: str) -> str:
    """A cookie value for a browser that has just signed in to this account."""
    mark = secrets.token_urlsafe(18)
    return f"{mark}.{app[KEYRING].signer(_PURPOSE).sign(*_signed(mark, email))}"


def mark_of(request: web.Request, email: str) -> str | None:
    """The counter key of a browser with a device cookie for this account; ``None`` without one."""
    signer = request.app[KEYRING].signer(_PURPOSE)
    for name in (SEAL + NAME, f"__Host-{NAME}", NAME):  # the second is from earlier versions
        found = _COOKIE.fullmatch(request.cookies.get(name, ""))
        if found is None:
            continue
        if signer.is_valid(found[2], *_signed(found[1], email)):
            return found[1]
    return None


def _signed(mark: str, email: str) -> tuple[str, ...]:
    return mark, account_mark(email)
