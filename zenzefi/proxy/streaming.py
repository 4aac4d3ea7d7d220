"""Streams the body of a response to the client, unchanged."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from aiohttp import web

from zenzefi.errors import GateError
from zenzefi.proxy.browser_response import ClientResponse
from zenzefi.proxy.upstream.exchange import BodyBroken, UpstreamResponse

log = logging.getLogger(__name__)


@contextlib.contextmanager
def aborting_after_begin(client: ClientResponse) -> Iterator[None]:
    """Once the head of a response is out, a failure ends the connection.

    Before that the failure is raised, as a :class:`GateError` where there is one for it.
    """
    try:
        yield
    except ConnectionError:  # the browser is gone
        client.break_off()
    except Exception as error:
        cause = error.error if isinstance(error, BodyBroken) else error
        if not client.is_begun:
            raise cause from None
        if isinstance(cause, GateError):
            log.warning("transfer of a body aborted: error=%s", cause.code)
        else:
            log.exception("transfer of a body aborted")
        client.break_off()


async def stream(
    request: web.BaseRequest,
    response: UpstreamResponse,
    client: ClientResponse,
    first: bytes,
    *,
    keep_alive: bool,
) -> None:
    """Send the head, ``first`` and the rest of the body, as it arrives.

    Raises the error of a broken body if nothing was sent; else the connection is ended.
    """
    with aborting_after_begin(client):
        await client.begin(request, first, is_last=False, keep_alive=keep_alive)
        while piece := await response.read():
            await client.send(piece)
        await client.finish()
