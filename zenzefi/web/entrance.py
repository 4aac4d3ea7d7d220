"""The way from an account page into the upstream: the proxy cookie, at the right place."""

from __future__ import annotations

from aiohttp import hdrs, web

from zenzefi.proxy.setup import GATE
from zenzefi.tokens.gatekeeper import GATEKEEPER
from zenzefi.web.page import MOUNT_PREFIX, Page


async def entrance(page: Page, token: str) -> web.Response:
    """303 into the upstream for the holder of ``token``; never starts its clock.

    Under the prefix the cookie is set here. At ``PROXY_HOST``, another host, a one-time ticket
    carries the browser over. Raises the refusals of :meth:`Gatekeeper.validate`.
    """
    access = await page.request.app[GATEKEEPER].validate(token)
    gate = page.request.app.get(GATE)
    own = None if gate is None else gate.mounts.own_origin
    if gate is not None and own is not None:
        url = gate.tickets.url(own, token, family=page.session_id)
        return web.Response(status=303, headers={hdrs.LOCATION: url})
    response = page.redirect(MOUNT_PREFIX + "/")
    if gate is not None:
        await gate.cookies.sign_in(page.request, response, token, access, family=page.session_id)
    return response
