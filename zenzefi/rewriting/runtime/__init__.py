"""The run-time script: what it is, how a page or a worker gets it.

Pure: bytes and strings only. ``runtime.js`` lies beside this module, is served as it is at
``<mount>`` + :data:`RUNTIME_PATH`, and learns the mount from its own address. ``docs/runtime.md``
says what it wraps.
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
"""Where the script is served, below the mount: a name that no upstream uses."""

_MARK = re.compile(r"(?:^|&)\.zenzefi-worker=(module|classic)$")
# The last part of the query that the runtime adds to the address of a worker's script. The request
# does not say whether it is a module (HTML, "fetch a worklet/module worker script graph"), and to
# an origin that is not secure not even that it is for a worker (Fetch Metadata, section 2).

Address = Literal["mount", "upstream"]
"""What the address bar shows under a prefix: the mounted path, or (opt-in) the upstream's own."""

_DIRECTIVE = re.compile(rb"(?:\s|//[^\n]*\n|/\*(?s:.*?)\*/)*(['\"])use strict\1")


@functools.lru_cache(maxsize=1)
def runtime_source() -> bytes:
    """The script itself."""
    return (Path(__file__).parent / "runtime.js").read_bytes()


@functools.lru_cache(maxsize=1)
def runtime_version() -> str:
    """A short hash of the script: the ``v`` of its address and its entity tag."""
    return hashlib.sha256(runtime_source()).hexdigest()[:16]


def runtime_headers(version: str | None) -> list[tuple[str, str]]:
    """Response headers for the script; it may be kept for ever when its address names the version.

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
    """The element to put first in ``<head>``; empty for a root mount, which needs none.

    ``origins`` are the upstream's own and its aliases, in any order: the page is given their
    marks under ``key`` (:mod:`zenzefi.rewriting.runtime.marks`), never the origins. ``nonce`` lets
    a script through the page's policy (:func:`zenzefi.rewriting.csp.permit`), where it has one; the
    script gives it to the import map that it adds. ``address="upstream"`` shows the upstream's own
    path in the address bar (see ``docs/runtime.md`` for what that costs).
    """
    if mount.is_root:
        return b""
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
    """What goes in front of a worker's script (no line break, so that line numbers stay).

    ``query`` is the query of the script's address, ``source`` the beginning of the script (64 KiB
    are plenty), ``key`` as for :func:`runtime_tag`. Empty for a root mount.
    """
    if mount.is_root:
        return b""
    settings = urlencode({"v": runtime_version(), "upstream": marks(frozenset(origins), key)})
    address = json.dumps(f"{mount.prefix}{RUNTIME_PATH}?{settings}")
    mark = _MARK.search(query)
    if mark and mark[1] == "module":
        return f"import {address};".encode()
    # A directive counts only as a script's first statement, so it is said again.
    directive = '"use strict";' if _DIRECTIVE.match(source) else ""
    # A module that did not say so has no importScripts: it must not fail for that.
    return f"{directive}try{{importScripts({address})}}catch{{}};".encode()


def is_worker(destination: str | None, query: str) -> bool:
    """Whether a script is asked for by a worker: ``Sec-Fetch-Dest`` says so, or the runtime did."""
    return destination in _WORKERS or _MARK.search(query) is not None


_WORKERS = frozenset(("worker", "sharedworker", "serviceworker"))
