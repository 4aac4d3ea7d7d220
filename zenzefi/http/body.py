"""Read the whole content of a request to the gate's own API or forms, limited in size and time.

Contents of proxied requests are streamed and never read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from aiohttp.web_request import FileField
from multidict import MultiDictProxy

from zenzefi.errors import BadRequest, PayloadTooLarge
from zenzefi.http.errors import AmbiguousRequest, RequestTimeout

CONTENT_SECONDS = 30.0
"""Timeout for the whole content: enough for one mebibyte over a slow mobile connection."""

_T = TypeVar("_T")


async def content_of(request: web.Request) -> bytes:
    """All bytes of the content; a second call returns the same bytes.

    Raises :class:`PayloadTooLarge` (413), before reading if the declared length is too large,
    :class:`RequestTimeout` (408), and :class:`AmbiguousRequest` (400) for truncated or malformed
    content.
    """
    return await _whole(request, request.read)


async def form_of(request: web.Request) -> MultiDictProxy[str | bytearray | bytes | FileField]:
    """The fields of a form. Raises as :func:`content_of`, and 400 for other content than a form."""
    try:
        return await _whole(request, request.post)
    except (ValueError, LookupError, AssertionError):  # boundaries, nesting, codecs
        raise BadRequest("The form can't be read. Open the page again and retry.") from None


async def fields_of(request: web.Request) -> dict[str, str]:
    """The fields of a form by name: the last value of a repeated field, and no files.

    Both the rate limits and the handlers read forms here, so that they see the same values. Raises
    as :func:`form_of`.
    """
    sent = await form_of(request)
    return {name: value for name, value in sent.items() if isinstance(value, str)}


async def _whole(request: web.Request, read: Callable[[], Awaitable[_T]]) -> _T:
    try:
        # RFC 9110, 15.5.14: a client that declares too much can be refused before it sends.
        if (request.content_length or 0) > request.client_max_size:
            raise PayloadTooLarge
        async with asyncio.timeout(CONTENT_SECONDS):
            return await read()
    except TimeoutError:
        raise RequestTimeout from None
    except web.RequestPayloadError:
        raise AmbiguousRequest("The content is not framed as RFC 9112, 7.1 says.") from None
    except OSError:  # the client has disconnected and does not receive this response
        raise AmbiguousRequest("The content is incomplete (RFC 9112, 8).") from None
