"""``Server`` on the gate's own answers: its name, without the versions that aiohttp tells.

RFC 9110 section 10.2.4: saying more only helps attackers to choose. An upstream's answer keeps the
upstream's.
"""

from __future__ import annotations

from aiohttp import hdrs, web

SERVER = "zenzefi"


async def _name(_request: web.Request, response: web.StreamResponse) -> None:
    if hdrs.SERVER in response.headers:  # aiohttp has put its own there
        response.headers[hdrs.SERVER] = SERVER


def setup(app: web.Application) -> None:
    """Name every response that the gate makes itself."""
    app.on_response_prepare.append(_name)
