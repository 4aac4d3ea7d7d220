"""Authentication that belongs to a connection instead of a request: NTLM and Negotiate.

With these schemes (RFC 4559, and [MS-NTHT] for NTLM) an upstream authenticates the *connection*: it
serves all later requests on it as the user who authenticated first. HTTP otherwise is stateless
(RFC 9110, 3.3), and pooling relies on that. A connection on which one of these schemes was used or
offered is therefore never shared. It belongs to one connection of one client from then on, which
the handshake over several requests needs as well, and both end together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SCHEMES = rb"(?:ntlm|negotiate|nego2|kerberos)"
# RFC 9110, 11.6.1: challenges are lists, and their parameters are separated by commas as well. The
# pattern also matches a scheme's name in a quoted parameter, at the cost of an unshared connection.
_CHALLENGE = re.compile(rb"(?:^|[,\s])" + _SCHEMES + rb"(?=[,\s]|$)", re.IGNORECASE)
_CREDENTIALS = re.compile(rb"\s*" + _SCHEMES + rb"(?=\s|$)", re.IGNORECASE)
_CHALLENGES = frozenset((b"www-authenticate", b"proxy-authenticate"))
_AUTHORIZATIONS = frozenset((b"authorization", b"proxy-authorization"))
# Headers by which a server announces that the connection is, or may become, authenticated.
_SIGNS = frozenset((b"persistent-auth", b"proxy-support"))


def is_challenged(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a response's headers offer or use authentication of the connection."""
    for name, value in headers:
        low = name.lower()
        if low in _SIGNS or (low in _CHALLENGES and _CHALLENGE.search(value)):
            return True
    return False


def has_credentials(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request's headers authenticate its connection."""
    for name, value in headers:
        if name.lower() in _AUTHORIZATIONS and _CREDENTIALS.match(value):
            return True
    return False
