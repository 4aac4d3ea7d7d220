"""The JavaScript runtime: maps URLs that scripts create in the browser.

Theory of operation
    The gate rewrites URLs in the source of pages. Scripts create further URLs at run time, which
    only the browser sees. Under a prefix mount, documents therefore get ``runtime.js`` as the first
    script in their head (:func:`runtime_tag`), and workers get it on their first line
    (:func:`worker_prelude`). It wraps the browser's APIs that accept a URL and maps the URL when
    the API is called; the scripts themselves stay byte-identical. The header comment of
    ``runtime.js`` describes its states and guarantees, ``docs/runtime.md`` what it wraps.

    The script is the same for every page: it is served at the mount + :data:`RUNTIME_PATH`, reads
    the mount from its own URL, and everything else from the data attributes of its tag (in a
    worker, from the query). Pages do not receive the upstream's origins but keyed hashes of them
    (:mod:`zenzefi.rewriting.runtime.marks`).

This package only makes bytes and strings; the proxy serves them.
"""

from __future__ import annotations

import functools
import hashlib
import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from zenzefi.origin import Mount, Origin
from zenzefi.rewriting.runtime.marks import NO_KEY, marks

RUNTIME_PATH = "/.zenzefi/runtime.js"
"""The path of the script below the mount; no upstream uses this name."""

WORKER_MARK = b".zenzefi-worker="
"""In the query of the address of a worker's script, if the runtime has put it there."""
_MARK = re.compile(r"(?:^|&)\.zenzefi-worker=(module|classic)$")
# The last part of the query that the runtime adds to the URL of a worker's script. The request
# does not show whether it is a module (HTML, "fetch a worklet/module worker script graph"), and to
# an insecure origin it does not even show that it is for a worker (Fetch Metadata, section 2).

Address = Literal["mount", "upstream"]
"""The path in the address bar under a prefix: the mounted one, or (opt-in) the upstream's."""

_DIRECTIVE = re.compile(rb"(?:\s|//[^\n]*\n|/\*(?s:.*?)\*/)*(['\"])use strict\1")


@functools.lru_cache(maxsize=1)
def runtime_source() -> bytes:
    """The source of the script."""
    return (Path(__file__).parent / "runtime.js").read_bytes()


@functools.lru_cache(maxsize=1)
def runtime_version() -> str:
    """A short hash of the script: the ``v`` parameter of its URL and its ETag."""
    return hashlib.sha256(runtime_source()).hexdigest()[:16]


def runtime_headers(version: str | None) -> list[tuple[str, str]]:
    """Response headers for the script; cached without limit if its URL names the version.

    ``version`` is the ``v`` parameter of the request, or ``None``.
    """
    keep = "public, max-age=31536000, immutable" if version == runtime_version() else "no-cache"
    return [
        ("Content-Type", "text/javascript; charset=utf-8"),
        ("Cache-Control", keep),
        ("ETag", f'"{runtime_version()}"'),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ]


def runtime_tag(
    mount: Mount,
    origins: Iterable[Origin],
    nonce: str | None = None,
    address: Address = "mount",
    *,
    key: str = NO_KEY,
) -> bytes:
    """The element to put first in ``<head>``.

    At a root mount, the script maps addresses with one of ``origins`` only: put it into documents
    that name the upstream (:class:`zenzefi.rewriting.html.named.IfNamed`).

    ``origins`` are the upstream's own and its aliases, in any order: the page gets their marks
    under ``key`` (:mod:`zenzefi.rewriting.runtime.marks`), never the origins. ``nonce`` is the one
    with which the page's policy allows scripts (:func:`zenzefi.rewriting.csp.permit`), if it has
    one; the script also sets it on the import map that it adds. ``address="upstream"`` shows the
    upstream's own path in the address bar (see ``docs/runtime.md`` for what that costs).
    """
    attributes = {
        "src": f"{mount.prefix}{RUNTIME_PATH}?v={runtime_version()}",
        "data-upstream": marks(frozenset(origins), key),
    }
    if address != "mount":
        attributes["data-address"] = address
    if nonce:
        attributes["nonce"] = nonce
    text = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<script{text}></script>".encode()


def worker_prelude(
    mount: Mount, origins: Iterable[Origin], *, query: str, source: bytes, key: str = NO_KEY
) -> bytes:
    """The text to insert before a worker's script (no line break, so that line numbers stay).

    ``query`` is the query of the script's URL, ``source`` the beginning of the script (64 KiB are
    enough), ``key`` as for :func:`runtime_tag`. Empty for a root mount.
    """
    if mount.is_root:
        return b""
    settings = urlencode({"v": runtime_version(), "upstream": marks(frozenset(origins), key)})
    address = json.dumps(f"{mount.prefix}{RUNTIME_PATH}?{settings}")
    mark = _MARK.search(query)
    if mark and mark[1] == "module":
        return f"import {address};".encode()
    # A directive counts only as a script's first statement, so it is repeated.
    directive = '"use strict";' if _DIRECTIVE.match(source) else ""
    # An undeclared module has no importScripts: it must not fail because of that.
    return f"{directive}try{{importScripts({address})}}catch{{}};".encode()


def is_worker(destination: str | None, query: str) -> bool:
    """Whether a script is for a worker, by ``Sec-Fetch-Dest`` or by the runtime's mark."""
    return destination in _WORKERS or _MARK.search(query) is not None


_WORKERS = frozenset(("worker", "sharedworker", "serviceworker"))
