"""The run-time script: what it is, how a page or a worker gets it (DESIGN section 9).

Pure: bytes and strings only. ``runtime.js`` lies beside this module, is served as it is at
``<mount>`` + :data:`RUNTIME_PATH`, and learns the mount from its own address. ``docs/runtime.md``
says what it wraps.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

from zenzefi.rewriting.mount import Mount, Origin

RUNTIME_PATH = "/.zenzefi/runtime.js"
"""Where the script is served, below the mount: a name that no upstream uses."""

MODULE_WORKER_MARK = ".zenzefi-worker=module"
"""The last part of the query that the runtime adds to a module worker's address, because a request
for a worker's script does not say which kind of script it is (Fetch, "fetch a worker script")."""

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


@functools.lru_cache(maxsize=1)
def runtime_integrity() -> str:
    """The script's integrity metadata (W3C SRI), also a CSP hash source without the quotes."""
    return "sha256-" + base64.b64encode(hashlib.sha256(runtime_source()).digest()).decode()


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
    upstream: Origin,
    aliases: Sequence[Origin] = (),
    nonce: str | None = None,
    address: Address = "mount",
    integrity: bool = False,
) -> bytes:
    """The element to put first in ``<head>``; empty for a root mount, which needs none.

    ``nonce`` is the page's own CSP nonce, where it has one. ``address="upstream"`` shows the
    upstream's own path in the address bar (see ``docs/runtime.md`` for what that costs).
    ``integrity`` states the script's hash, for a page whose policy allows scripts by hash.
    """
    if mount.is_root:
        return b""
    attributes = {
        "src": f"{mount.prefix}{RUNTIME_PATH}?v={runtime_version()}",
        "data-upstream": str(upstream),
    }
    if aliases:
        attributes["data-aliases"] = " ".join(map(str, aliases))
    if address != "mount":
        attributes["data-address"] = address
    if nonce:
        attributes["nonce"] = nonce
    if integrity:
        attributes["integrity"] = runtime_integrity()
    text = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f"<script{text}></script>".encode()


def import_map(mount: Mount, upstream: Origin, aliases: Sequence[Origin] = ()) -> str:
    """The text of the import map that the runtime adds (HTML, 8.1.5.2), byte for byte.

    Its hash lets it through a CSP that allows inline scripts by hash only.
    """
    inside = f"{mount.prefix}/"
    imports = {"/": inside, inside: inside}
    for origin in (upstream, *aliases):
        imports[f"{origin}/"] = inside
    return json.dumps({"imports": imports}, separators=(",", ":"), ensure_ascii=False)


def worker_prelude(
    mount: Mount,
    upstream: Origin,
    aliases: Sequence[Origin] = (),
    *,
    query: str,
    source: bytes,
) -> bytes:
    """What goes in front of a worker's script (no line break, so that line numbers stay).

    ``query`` is the query of the script's address, ``source`` the beginning of the script (64 KiB
    are plenty). A module says by :data:`MODULE_WORKER_MARK` that it is one. Empty for a root mount.
    """
    if mount.is_root:
        return b""
    settings = {"upstream": str(upstream), "aliases": " ".join(map(str, aliases))}
    address = json.dumps(f"{mount.prefix}{RUNTIME_PATH}?{urlencode(settings)}")
    if query == MODULE_WORKER_MARK or query.endswith("&" + MODULE_WORKER_MARK):
        return f"import {address};".encode()
    # A directive counts only as a script's first statement, so it is said again.
    directive = '"use strict";' if _DIRECTIVE.match(source) else ""
    # A module that did not say so has no importScripts: it must not fail for that.
    return f"{directive}try{{importScripts({address})}}catch{{}};".encode()


def unmark_query(query: str) -> str:
    """The query of a worker's address as the upstream knows it."""
    return query.removesuffix(MODULE_WORKER_MARK).removesuffix("&")


def csp_hashes(texts: Iterable[str]) -> list[str]:
    """CSP hash sources (``'sha256-...'``) of inline scripts (CSP 3, 2.3.1)."""
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


_NONCE = re.compile(r"'nonce-([A-Za-z0-9+/_=-]+)'", re.I)
_SCRIPT_DIRECTIVES = ("script-src-elem", "script-src", "default-src")


def allow_in_policy(
    policy: str, mount: Mount, upstream: Origin, aliases: Sequence[Origin] = ()
) -> tuple[str, str | None]:
    """One CSP (a header's or a ``<meta>``'s value) that lets the runtime and its import map run.

    Returns the policy and the nonce to give :func:`runtime_tag`. The policy is changed no more
    than needed: not at all when it has a nonce or no rule for scripts; a policy that allows no
    scripts stays as it is, since on such a page nothing is left to map at run time. Where only
    hashes count (``'strict-dynamic'`` without a nonce) the tag must carry ``integrity``.
    """
    if mount.is_root:
        return policy, None
    directives = policy.split(";")
    found: dict[str, int] = {}
    for index, directive in enumerate(directives):
        name = directive.split(None, 1)[0].lower() if directive.strip() else ""
        found.setdefault(name, index)  # a repeated directive is ignored (CSP 3, 2.2.1)
    if "trusted-types" in found:
        index = found["trusted-types"]
        directives[index] = _with_trusted_type(directives[index])
    rule = next((name for name in _SCRIPT_DIRECTIVES if name in found), None)
    if rule is None:
        return ";".join(directives), None
    directive = directives[found[rule]]
    nonce = _NONCE.search(directive)
    if nonce:
        return ";".join(directives), nonce[1]
    sources = directive.split()[1:]
    add = _missing_sources([source.lower() for source in sources], mount, upstream, aliases)
    if add and rule == "default-src":
        # Scripts get their own rule, so that nothing else is loosened.
        directives.append(f" script-src {' '.join([*sources, *add])}")
    elif add:
        directives[found[rule]] = f"{directive.rstrip()} {' '.join(add)}"
    return ";".join(directives), None


def _missing_sources(
    sources: list[str], mount: Mount, upstream: Origin, aliases: Sequence[Origin]
) -> list[str]:
    """The source expressions that a rule without a nonce lacks for the runtime to run."""
    if not sources or sources == ["'none'"]:
        return []
    inline = csp_hashes([import_map(mount, upstream, aliases)])
    if "'strict-dynamic'" in sources:
        return [f"'{runtime_integrity()}'", *inline]  # nothing but nonces and hashes counts
    add: list[str] = []
    if not any(source in ("'self'", "*") for source in sources):
        add.append(f"{mount.public}{mount.prefix}{RUNTIME_PATH}")
    hashed = any(source.startswith(("'sha256-", "'sha384-", "'sha512-")) for source in sources)
    # A hash switches 'unsafe-inline' off (CSP 3, 6.7.3.2): it is added only where it counts.
    if hashed or "'unsafe-inline'" not in sources:
        add += inline
    return add


def _with_trusted_type(directive: str) -> str:
    """``trusted-types`` with the runtime's own policy (W3C Trusted Types, 4.3)."""
    names = directive.split()[1:]
    if "*" in names or "zenzefi" in names:
        return directive
    if names == ["'none'"]:
        return directive.replace("'none'", "zenzefi")
    return f"{directive.rstrip()} zenzefi"
