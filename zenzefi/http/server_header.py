"""``Server`` in the gate's own responses: its name, without the versions that aiohttp adds.

RFC 9110, 10.2.4: details help attackers to find known weaknesses. A proxied response keeps the
upstream's ``Server``.
"""

from __future__ import annotations

from aiohttp import hdrs, web

SERVER = "zenzefi"


async def _name(_request: web.Request, response: web.StreamResponse) -> None:
    if hdrs.SERVER in response.headers:  # set by aiohttp
        response.headers[hdrs.SERVER] = SERVER


def setup(app: web.Application) -> None:
    """Set ``Server`` on each of the gate's own responses."""
    app.on_response_prepare.append(_name)
