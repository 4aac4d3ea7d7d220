"""Opening the upstream from an account page: the proxy cookie, and the redirect to the mount."""

from __future__ import annotations

from aiohttp import web

from zenzefi.origin import PROXY_PREFIX
from zenzefi.proxy.setup import GATE
from zenzefi.proxy.sign_in import own_origin, redirect_to_sign_in
from zenzefi.settings import SETTINGS
from zenzefi.settings.own_origin import BrowserMount
from zenzefi.tokens.validation import TOKEN_VALIDATOR
from zenzefi.web.page import PageContext


async def redirect_to_upstream(page: PageContext, token: str) -> web.Response:
    """303 to the upstream for the holder of ``token``; does not activate the token.

    Sets the proxy cookie at the gate's host. If the upstream has its own origin, the browser then
    signs in there (:mod:`zenzefi.proxy.sign_in`); otherwise it is redirected to the prefix mount.
    Raises ``OwnOriginMissing`` if the browser may use neither, and the errors of
    :meth:`TokenValidator.validate`.
    """
    access = await page.request.app[TOKEN_VALIDATOR].validate(token)
    gate = page.request.app.get(GATE)
    if gate is None:
        return page.redirect(PROXY_PREFIX + "/")
    if gate.mounts.browsers_at_prefix and gate.mounts.own_origin is None:
        response = page.redirect(PROXY_PREFIX + "/")
    else:
        response = redirect_to_sign_in(gate.mounts, page.request, "/")
    await gate.cookies.sign_in(page.request, response, token, access, family=page.session_id)
    return response


def upstream_url(page: PageContext) -> str:
    """URL of the upstream's root for this browser; empty if browsers can't open it."""
    settings = page.request.app[SETTINGS]
    gate = page.request.app.get(GATE)
    own = None if gate is None else own_origin(gate.mounts, page.request)
    if own is not None:
        return own.root
    if settings.browser_mount is BrowserMount.PREFIX:
        return f"{settings.public_origin}{PROXY_PREFIX}/"
    return ""
