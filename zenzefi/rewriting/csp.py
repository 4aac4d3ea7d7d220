"""Content-Security-Policy across the gate (CSP Level 3).

Directives and sources keep their spelling. A source that means the upstream is replaced by the
gate, and policies of pages that get the gate's runtime script allow it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from zenzefi.origin import DEFAULT_PORTS, Mount, Origin
from zenzefi.rewriting.url_map import UrlMap

_WORD = re.compile(r"[^\s;,]+|[;,]")
_END = re.compile(r"[;,]|\Z")
_MOST = 4000
"""Words and separators of one header that are mapped: browsers see the others as they are."""
_SOURCE = re.compile(
    r"(?:(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://)?"
    r"(?P<host>(?:\*\.)?[a-zA-Z0-9_-]+(?:\.[a-zA-Z0-9_-]+)*|\[[0-9a-fA-F:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}|\*))?(?P<path>/\S*)?"
)
_URL_DIRECTIVES = frozenset(("report-uri",))
_OTHER_DIRECTIVES = frozenset(
    [
        "report-to",
        "sandbox",
        "plugin-types",
        "require-sri-for",
        "require-trusted-types-for",
        "trusted-types",
        "upgrade-insecure-requests",
        "block-all-mixed-content",
        "webrtc",
        "referrer",
        "reflected-xss",
    ]
)
_NONCE = re.compile(r"'nonce-([^']+)'", re.I)
_HASH = re.compile(r"'sha(?:256|384|512)-[^']+'", re.I)
_SOCKETS = {"http": "ws", "https": "wss"}


def map_policy(value: str, mapper: UrlMap, mount: Mount, document_url: str) -> str:
    """A header's value (one or more policies) in the browser's view; idempotent."""
    lower = value.lower()
    hosts = [origin.host for origin in mapper.origins]
    if not any(mark in lower for mark in ("*.", "report-uri", *hosts)):
        return value
    out: list[str] = []
    last = 0
    directive = ""
    present: set[str] = set()
    for word in islice(_WORD.finditer(value), _MOST):
        text = word[0]
        if text in ";,":
            directive, present = "", set()
        elif not directive:
            directive = text.lower()
            present = _words_of_directive(value, word.end())
        else:
            new = _map_word(directive, text, present, mapper, mount, document_url)
            if new != text:
                out += [value[last : word.start()], new]
                last = word.end()
    out.append(value[last:])
    return "".join(out)


def _words_of_directive(value: str, start: int) -> set[str]:
    end = _END.search(value, start)
    return set(value[start : end.start() if end else len(value)].split())


def _map_word(
    directive: str,
    word: str,
    present: set[str],
    mapper: UrlMap,
    mount: Mount,
    document_url: str,
) -> str:
    if directive in _URL_DIRECTIVES:
        return mapper.map(word, document_url)
    if directive in _OTHER_DIRECTIVES or word.startswith("'"):
        return word
    match = _SOURCE.fullmatch(word)
    if match is None:
        return word
    scheme = (match["scheme"] or "").lower()
    public = mount.public
    as_socket = scheme in ("ws", "wss")
    for origin in mapper.origins:
        fit = _fits(match, scheme, origin)
        if fit is None:
            continue
        if fit:  # it names the upstream itself
            prefix = (
                f"{_SOCKETS[public.scheme] if as_socket else public.scheme}://" if scheme else ""
            )
            path = match["path"]
            new = prefix + public.authority + (mount.prefix + path if path else "")
            # A socket's scheme does not cover fetches, so the origin that 'self' covers is added.
            is_covered = scheme not in ("ws", "wss") or bool(present & {"'self'", str(public)})
            return new if is_covered else f"{new} {public}"
        gate = str(public)  # a pattern that covers the upstream covers others too: add the gate
        return word if gate in present else f"{word} {gate}"
    return word


def _fits(match: re.Match[str], scheme: str, origin: Origin) -> bool | None:
    """True: names this origin; False: a wildcard that covers it; None: something else."""
    upgraded = scheme in ("http", "ws") and origin.scheme == "https"  # CSP section 6.7.2.8
    if scheme and scheme not in (origin.scheme, _SOCKETS[origin.scheme]) and not upgraded:
        return None
    host, port = match["host"].lower(), match["port"]
    default = DEFAULT_PORTS[origin.scheme]
    if port == "*":
        pass
    elif port is None:
        if origin.port != default and not (not scheme and origin.port in (80, 443)):
            return None
    elif int(port) != origin.port and not (int(port) == 80 and origin.port == 443):
        return None
    if host.startswith("*."):
        return False if origin.host.endswith(host[1:]) else None
    return host == origin.host or None


@dataclass(frozen=True, slots=True)
class InlineHashes:
    """The hashes by which policies allow inline scripts and styles (CSP Level 3, 6.7.3.3).

    An element that the gate edits has another hash. If every policy with hashes allowed its source,
    it gets the nonce, which these policies allow too.
    """

    nonce: str
    scripts: tuple[frozenset[str], ...]
    """One set for each policy with hashes: ``sha256-...``."""
    styles: tuple[frozenset[str], ...]

    def and_those_of(self, others: InlineHashes | None) -> InlineHashes:
        """The hashes of both; each policy must allow an element."""
        if others is None:
            return self
        return InlineHashes(self.nonce, self.scripts + others.scripts, self.styles + others.styles)

    def allows(self, element: bytes, text: bytes) -> bool:
        """Whether each policy allows ``script`` or ``style`` with this text in UTF-8."""
        policies = self.scripts if element == b"script" else self.styles
        if not policies:
            return False
        source = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return all(
            any(_digest(hashed[:6], source) == hashed for hashed in hashes) for hashes in policies
        )


def _digest(algorithm: str, text: bytes) -> str:
    digest = hashlib.new(algorithm, text).digest()
    return f"{algorithm}-{base64.b64encode(digest).decode()}"


_ELEMENTS = {
    "script": ("script-src-elem", "script-src", "default-src"),
    "style": ("style-src-elem", "style-src", "default-src"),
}
_MOST_HASHES = 1000  # of one policy; an element is compared with each


def permit_edited(values: Sequence[str], nonce: str) -> tuple[tuple[str, ...], InlineHashes | None]:
    """The policies with ``nonce`` where they allow inline elements by hash, and the hashes."""
    found: dict[str, list[frozenset[str]]] = {kind: [] for kind in _ELEMENTS}
    out = []
    for value in values:
        policies = value.split(",")
        for index, policy in enumerate(policies):
            parts, directives = _directives(policy)
            for kind, names in _ELEMENTS.items():
                governing = next((name for name in names if name in directives), None)
                if governing is None:
                    continue
                at, sources = directives[governing]
                hashes = [source for source in sources if _HASH.fullmatch(source)]
                if not hashes or len(hashes) > _MOST_HASHES:
                    continue
                found[kind].append(frozenset(map(_normal_hash, hashes)))
                if f"'nonce-{nonce}'" not in parts[at].split():
                    parts[at] = f"{parts[at].rstrip()} 'nonce-{nonce}'"
            policies[index] = ";".join(parts)
        out.append(",".join(policies))
    scripts, styles = (tuple(found[kind]) for kind in _ELEMENTS)
    if not scripts and not styles:
        return tuple(values), None
    return tuple(out), InlineHashes(nonce, scripts, styles)


def permit_behind(
    policy: str, known: InlineHashes | None, fresh: FreshNonce
) -> tuple[str, InlineHashes | None]:
    """As :func:`permit_edited`, for a policy in the document; with the hashes of ``known``."""
    (policy,), hashes = permit_edited((policy,), known.nonce if known else str(fresh))
    return policy, known if hashes is None else hashes.and_those_of(known)


def _normal_hash(source: str) -> str:
    """The hash of a source; base64 may use either alphabet (CSP Level 3, 2.3.1)."""
    algorithm, _, digest = source.strip("'").partition("-")
    digest = digest.replace("-", "+").replace("_", "/")
    return f"{algorithm.lower()}-{digest}"


class FreshNonce:
    """A nonce for one response, made when it is needed. A result that contains one is not kept."""

    def __init__(self) -> None:
        self._value = ""

    def __bool__(self) -> bool:
        """Whether it was needed."""
        return bool(self._value)

    def __str__(self) -> str:
        """The nonce: 128 bits (CSP Level 3, 7.1)."""
        self._value = self._value or secrets.token_urlsafe(16)
        return self._value


@dataclass(frozen=True, slots=True)
class Permission:
    """The page's policies with permission for the gate's own script."""

    values: tuple[str, ...]
    """The headers' values, with the permission added."""
    nonce: str | None
    """The nonce for the gate's script elements, if the policies need one."""
    allowed: bool
    """False if the page runs no scripts at all, so that none is inserted."""
    hashes: InlineHashes | None = None
    """The inline elements that the policies allow by their hash, if there are any."""


def permit(values: Sequence[str], public: Origin, fresh_nonce: str) -> Permission:
    """Allow the gate's runtime script (from ``public``, with one inline import map).

    An existing nonce is reused; ``fresh_nonce`` is for policies without one.
    """
    nonces = [m[1] for value in values for m in _NONCE.finditer(value)]
    nonce = nonces[0] if nonces else fresh_nonce
    allowed = True
    used = False
    out = []
    for value in values:
        policies = []
        for policy in value.split(","):
            new, needs_nonce, runs = _permit_one(policy, public, nonce)
            policies.append(new)
            used, allowed = used or needs_nonce, allowed and runs
        out.append(",".join(policies))
    if not allowed:
        return Permission(tuple(values), None, False)
    return Permission(tuple(out), nonce if used else None, True)


def _permit_one(policy: str, public: Origin, nonce: str) -> tuple[str, bool, bool]:
    parts, directives = _directives(policy)
    if "sandbox" in directives and "allow-scripts" not in directives["sandbox"][1]:
        return policy, False, False
    if "trusted-types" in directives:
        at, names = directives["trusted-types"]
        parts[at] = _with_own_policy(parts[at], names)
        policy = ";".join(parts)
    governing = next(
        (n for n in ("script-src-elem", "script-src", "default-src") if n in directives), None
    )
    if governing is None:
        return policy, False, True
    at, sources = directives[governing]
    lower = {source.lower() for source in sources}
    if not lower or lower == {"'none'"}:
        return policy, False, False
    strict = "'strict-dynamic'" in lower
    keyed = strict or any(_NONCE.match(s) or _HASH.match(s) for s in sources)
    if "'unsafe-inline'" in lower and not keyed:
        if lower & {"'self'", "*", str(public), public.authority, f"{public.scheme}:"}:
            return policy, False, True
        parts[at] = f"{parts[at].rstrip()} {public}"
        return ";".join(parts), False, True
    if f"'nonce-{nonce}'" not in sources:
        parts[at] = f"{parts[at].rstrip()} 'nonce-{nonce}'"
    return ";".join(parts), True, True


def _directives(policy: str) -> tuple[list[str], dict[str, tuple[int, list[str]]]]:
    """The parts of a policy, and the position and words of each directive; the first one counts."""
    directives: dict[str, tuple[int, list[str]]] = {}
    parts = policy.split(";")
    for at, part in enumerate(parts):
        words = part.split()
        if words:
            directives.setdefault(words[0].lower(), (at, words[1:]))
    return parts, directives


def _with_own_policy(directive: str, names: list[str]) -> str:
    """``trusted-types`` with the name of the runtime's policy (Trusted Types, 4.3)."""
    if "*" in names or "zenzefi" in names:
        return directive
    if names == ["'none'"]:
        return directive.replace("'none'", "zenzefi")
    return f"{directive.rstrip()} zenzefi"
