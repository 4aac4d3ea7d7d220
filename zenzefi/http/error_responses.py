"""Map errors to HTTP responses, in one place.

A navigation gets a page, every other request the one JSON error shape. A refused ``EventSource``
gets 204, because after any other response it reconnects without limit (WHATWG HTML, 9.2.3).
"""

from __future__ import annotations

import base64
import hashlib
import html
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from zenzefi.branding import BRAND, palette
from zenzefi.errors import GateError, Invalid, MethodRefused, NotFound, PayloadTooLarge
from zenzefi.http.cookie_reset import COOKIE_RESET_PATH, return_path_of
from zenzefi.http.request_id import request_id_of
from zenzefi.settings.branding import DEFAULT_NAME

log = logging.getLogger(__name__)

_CLIENT_GONE = 499  # as nginx logs it; it is never sent
_BROKEN_OFF = (
    ConnectionError,
    EOFError,
    ClientPayloadError,
    HttpProcessingError,
    web.PayloadAccessError,
    web.RequestPayloadError,
)
"""Exceptions of reading from or writing to a connection that the client has closed."""

_STYLE = """
:root{color-scheme:light dark;--paper:#f6f4ef;--surface:#fff;--ink:#1b2126;--ink-2:#4f5862;
--line:#ddd8cd;--accent:#0b6a5c;--strong:#07574b;--on:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#12161a;--surface:#1b2126;--ink:#e8ebed;
--ink-2:#a7b0b9;--line:#303840;--accent:#4cc4ae;--strong:#6fd6c2;--on:#05231e}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;min-height:100dvh;display:grid;place-items:center;padding:1.25rem;
font:1rem/1.55 "Inter",-apple-system,"Segoe UI",Roboto,"Noto Sans","Liberation Sans",Arial,
sans-serif;
background:var(--paper);color:var(--ink)}
main{width:100%;max-width:30rem;padding:1.75rem;background:var(--surface);
border:1px solid var(--line);border-radius:12px;overflow-wrap:anywhere}
svg{display:block;color:var(--accent);margin-bottom:1.1rem}
h1{margin:0 0 .5rem;font-size:1.6rem;line-height:1.2;letter-spacing:-.012em;font-weight:650;
text-wrap:balance}
p{margin:0;text-wrap:pretty}
p.on{margin-top:1.25rem}
p.on a{display:inline-block;padding:.6rem 1.15rem;border-radius:8px;background:var(--accent);
color:var(--on);font-weight:600;text-decoration:none}
p.on a:hover{background:var(--strong)}
p.on a:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
form{margin:1.25rem 0 0}
button{padding:.6rem 1.15rem;border:0;border-radius:8px;background:var(--accent);
color:var(--on);font:inherit;font-weight:600;cursor:pointer}
button:hover{background:var(--strong)}
button:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
p.id{margin-top:1.5rem;font-size:.88rem;color:var(--ink-2)}
code{font-family:ui-monospace,"Liberation Mono",monospace}
"""
_MARK = """\
<svg width="34" height="34" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8"
stroke-linecap="round" aria-hidden="true"><path d="M4 21V11a8 8 0 0 1 16 0v10M12 21v-9M2.5 21h19"/>
</svg>"""
# Self-contained: on the application's own origin every path belongs to the upstream, so the gate's
# style sheet is not available.
_PAGE = """<!doctype html>
<html lang="{language}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}{site}</title><style>{style}</style></head>
<body><main>
{mark}
<h1>{title}</h1><p>{detail}</p>{link}
<p class="id">{status} · {request} <code>{request_id}</code></p></main></body>
</html>
"""
_FORM = (
    '<form method="post" action="{action}"><input type="hidden" name="path" value="{path}">'
    "<button>{button}</button></form>"
)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The additions of a site's brand to every error page."""

    style: str
    mark: str
    site: str

    @property
    def style_hash(self) -> str:
        """The hash of the style for the policy of the page (CSP 3, 6.7.2.3)."""
        return base64.b64encode(hashlib.sha256(self.style.encode()).digest()).decode()


@lru_cache(maxsize=8)
def _frame(name: str, color: str | None, picture: str) -> _Frame:
    style = _STYLE
    if color is not None:
        light, dark = (palette(color, is_dark=is_dark) for is_dark in (False, True))
        style += ":root{{{}}}@media(prefers-color-scheme:dark){{:root{{{}}}}}".format(
            *(
                f"--accent:{colors['--accent']};--strong:{colors['--accent-strong']};"
                f"--on:{colors['--on-accent']}"
                for colors in (light, dark)
            )
        )
    mark = f'<img src="{html.escape(picture)}" height="34" alt="">' if picture else _MARK
    site = "" if name == DEFAULT_NAME else f" · {html.escape(name)}"
    return _Frame(style, mark, site)


def _frame_of(request: web.BaseRequest) -> _Frame:
    # A request that failed before it was routed has no application.
    brand = request.app.get(BRAND) if isinstance(request, web.Request) else None
    if brand is None:
        return _frame(DEFAULT_NAME, None, "")
    image = brand.logo or brand.icon
    return _frame(brand.name, brand.color, "" if image is None else image.data_url)


def _page_headers(form_action: str, frame: _Frame) -> dict[str, str]:
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{frame.style_hash}'; img-src data:; "
            "base-uri 'none'; "
            f"form-action {form_action}; frame-ancestors 'self'"
        ),
        "X-Content-Type-Options": "nosniff",
    }


def is_navigation(request: web.BaseRequest) -> bool:
    """Whether a browser will show the response: by fetch metadata if sent, else by ``Accept``."""
    mode = request.headers.get("Sec-Fetch-Mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in request.headers.get("Accept", "").lower()


def is_event_source(request: web.BaseRequest) -> bool:
    """Whether the client is an ``EventSource``, which sends exactly this ``Accept``."""
    return request.headers.get("Accept", "").strip().lower() == "text/event-stream"


@dataclass(frozen=True, slots=True)
class ErrorPageText:
    """The text of an error page; ``href`` and ``link`` are its link, if any.

    ``button`` is the text of the button that removes the site's cookies, if there is one.
    """

    language: str
    title: str
    detail: str
    href: str = ""
    link: str = ""
    button: str = ""
    request: str = "Request"


ERROR_PAGE_TEXT: web.AppKey[Callable[[web.BaseRequest, GateError], ErrorPageText | None]] = (
    web.AppKey("error_page_text")
)
"""Returns the text in the visitor's language, or ``None`` to use the error's English text."""


def _page_text(request: web.BaseRequest, error: GateError, detail: str) -> ErrorPageText:
    # A request that failed before it was routed has no application.
    find = request.app.get(ERROR_PAGE_TEXT) if isinstance(request, web.Request) else None
    found = None if find is None else find(request, error)
    return found or ErrorPageText("en", HTTPStatus(error.status).phrase, detail)


def _page(text: ErrorPageText, status: int, request_id: str, path: str, frame: _Frame) -> str:
    link = ""
    if text.href:
        link = f'<p class="on"><a href="{html.escape(text.href)}">{html.escape(text.link)}</a></p>'
    if text.button:
        link += _FORM.format(
            action=COOKIE_RESET_PATH, path=html.escape(path), button=html.escape(text.button)
        )
    return _PAGE.format(
        language=html.escape(text.language),
        title=html.escape(text.title),
        status=status,
        detail=html.escape(text.detail),
        link=link,
        request=html.escape(text.request),
        request_id=html.escape(request_id),
        style=frame.style,
        mark=frame.mark,
        site=frame.site,
    )


def error_response(request: web.BaseRequest, error: GateError) -> web.Response:
    """The response to one domain error, in the form that fits the client."""
    headers = {"Cache-Control": "no-store", **error.headers}
    if is_event_source(request) and error.status in (401, 403, 409):
        return web.Response(status=204, headers=headers)
    request_id = request_id_of(request)
    if is_navigation(request) and isinstance(error.detail, str):
        text, frame = _page_text(request, error, error.detail), _frame_of(request)
        return web.Response(
            status=error.status,
            text=_page(text, error.status, request_id, return_path_of(request), frame),
            content_type="text/html",
            headers={**headers, **_page_headers("'self'" if text.button else "'none'", frame)},
        )
    return web.json_response(error.body(request_id), status=error.status, headers=headers)


def domain_error(error: web.HTTPException) -> GateError | None:
    """The domain error for one that aiohttp raised; ``None`` for redirects and successes."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodRefused(sorted(error.allowed_methods))
    if isinstance(error, web.HTTPNotFound):
        return NotFound()
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return PayloadTooLarge()
    if error.status < 400:
        return None
    generic = GateError(error.text or error.reason)
    generic.status = error.status  # type: ignore[misc]  # one instance of an unforeseen status
    generic.code = HTTPStatus(error.status).name.lower()  # type: ignore[misc]  # likewise
    return generic


@web.middleware
async def errors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Second middleware: turn exceptions into responses."""
    try:
        return await handler(request)
    except GateError as error:
        if error.status >= 500 and not isinstance(error, Invalid):
            log.warning(
                "request failed: %s", error.code, extra={"request_id": request_id_of(request)}
            )
        return error_response(request, error)
    except web.HTTPException as error:
        known = domain_error(error)
        if known is None:
            raise
        return error_response(request, known)
    except Exception as error:
        if has_left(request) and isinstance(error, _BROKEN_OFF):
            log.info("client disconnected", extra={"request_id": request_id_of(request)})
            return web.Response(status=_CLIENT_GONE)
        log.exception("unexpected error", extra={"request_id": request_id_of(request)})
        if request.writer.output_size > 0:
            # Part of a response was sent. A second head would become part of its body, so the
            # connection is aborted, and the client sees that the response is incomplete.
            _abort(request)
        return error_response(request, GateError())


def has_left(request: web.BaseRequest) -> bool:
    """Whether the client's connection is gone: no response can reach it any more."""
    transport = request.transport
    return transport is None or transport.is_closing()


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
