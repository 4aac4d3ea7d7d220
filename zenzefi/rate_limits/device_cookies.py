"""Browsers in which an account was signed in to before have attempts of their own.

Attempts to sign in are counted per account, so anybody who knows an address could use them up, over
and over, and keep its owner out. A browser that signed in once keeps a signed cookie that says so;
its attempts are counted by that cookie instead. Guessing gains nothing: such a cookie comes from a
sign-in that worked, and has the same limit. (OWASP calls these device cookies.)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from aiohttp import web

from zenzefi.gate_cookies import KNOWN_BROWSER, SEAL
from zenzefi.keys import KEYRING

NAME = KNOWN_BROWSER
LIFE = 365 * 86400
"""Seconds that a browser keeps it."""

MAX_EMAIL = 254
"""Characters of an address that a sign-in looks at (RFC 5321, 4.5.3.1.3)."""

_PURPOSE = "known-browser"
_COOKIE = re.compile(r"([A-Za-z0-9_-]{24})\.([0-9a-f]{64})")


def account_mark(email: str) -> str:
    """What stands for an account in counters: hashed, since an address has any length and any
    characters, and needs not lie in Redis. Cut and folded as a sign-in does before it looks for the
    account: no two spellings of one account count apart."""
    plain = email.strip()[:MAX_EMAIL].strip().casefold()
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:32]


def cookie_for(app: web.Application, email: str) -> str:
    """The cookie's value for a browser in which this account was just signed in to."""
    mark = secrets.token_urlsafe(18)
    return f"{mark}.{_signature(app[KEYRING].keys(_PURPOSE)[0], mark, email)}"


def mark_of(request: web.Request, email: str) -> str | None:
    """What to count by in a browser that this account was signed in to before, else ``None``."""
    for name in (SEAL + NAME, f"__Host-{NAME}", NAME):  # the second is of earlier versions
        found = _COOKIE.fullmatch(request.cookies.get(name, ""))
        if found is None:
            continue
        for key in request.app[KEYRING].keys(_PURPOSE):
            if hmac.compare_digest(found[2], _signature(key, found[1], email)):
                return found[1]
    return None


def _signature(key: bytes, mark: str, email: str) -> str:
    return hmac.new(key, f"{mark}:{account_mark(email)}".encode(), hashlib.sha256).hexdigest()
