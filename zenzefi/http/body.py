"""Reading the content of a request whole, as the gate's own calls and forms do: bounded, in time.

What goes through to the upstream is streamed and never read here.
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
"""For all of it: a mebibyte at the pace of a bad mobile line."""

_T = TypeVar("_T")


async def content_of(request: web.Request) -> bytes:
    """All bytes of the content; a second call costs nothing.

    Raises :class:`PayloadTooLarge` (413) before any of it is read when the length says so,
    :class:`RequestTimeout` (408) and :class:`AmbiguousRequest` (400) when it does not end well.
    """
    return await _whole(request, request.read)


async def form_of(request: web.Request) -> MultiDictProxy[str | bytearray | bytes | FileField]:
    """The fields of a form; as for :func:`content_of`; what is no form is a 400 too."""
    try:
        return await _whole(request, request.post)
    except (ValueError, LookupError, AssertionError):  # boundaries, nesting, codecs
        raise BadRequest("The form can't be read. Open the page again and retry.") from None


async def fields_of(request: web.Request) -> dict[str, str]:
    """The fields of a form by name; of a repeated one the last, and no files.

    Whatever judges a form and whatever counts it reads it here: they must not see two forms. As
    for :func:`form_of`.
    """
    sent = await form_of(request)
    return {name: value for name, value in sent.items() if isinstance(value, str)}


async def _whole(request: web.Request, read: Callable[[], Awaitable[_T]]) -> _T:
    try:
        # RFC 9110, 15.5.14: who announces too much need not send it first.
        if (request.content_length or 0) > request.client_max_size:
            raise PayloadTooLarge
        async with asyncio.timeout(CONTENT_SECONDS):
            return await read()
    except TimeoutError:
        raise RequestTimeout from None
    except web.RequestPayloadError:
        raise AmbiguousRequest("The content is not framed as RFC 9112, 7.1 says.") from None
    except OSError:  # the client is gone: nobody reads this answer, and it is no fault of ours
        raise AmbiguousRequest("The content broke off (RFC 9112, 8).") from None
