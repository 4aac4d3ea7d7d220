"""Authentication that belongs to a connection instead of a request: NTLM and Negotiate.

An upstream that speaks them (RFC 4559, and [MS-NTHT] for NTLM) authenticates the *TCP connection*:
what follows on it is served as the user who authenticated first, whoever sent it. HTTP otherwise
is stateless (RFC 9110, 3.3), and pooling relies on that. So a connection that has seen one of
these schemes is never shared: it belongs to one connection of one client from then on, which also
is what the handshake of several requests needs, and both end together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_SCHEMES = rb"(?:ntlm|negotiate|nego2|kerberos)"
# RFC 9110, 11.6.1: challenges are lists, whose parameters are separated by commas, too. A scheme's
# name within a quoted parameter is found as well, which costs an unshared connection and no more.
_CHALLENGE = re.compile(rb"(?:^|[,\s])" + _SCHEMES + rb"(?=[,\s]|$)", re.IGNORECASE)
_CREDENTIALS = re.compile(rb"\s*" + _SCHEMES + rb"(?=\s|$)", re.IGNORECASE)
_CHALLENGES = frozenset((b"www-authenticate", b"proxy-authenticate"))
_AUTHORIZATIONS = frozenset((b"authorization", b"proxy-authorization"))
# Servers say with these that the connection is, or may become, authenticated.
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
    return any(
        name.lower() in _AUTHORIZATIONS and _CREDENTIALS.match(value) for name, value in headers
    )
