"""JSON: strings that are absolute URLs of the upstream, by span; at a root mount also in strings.

Number spelling, key order, white space, byte-order marks, ``)]}'`` guards and NDJSON stay. A
server that wraps its JSON in a call (JSONP) sends a script, and it is treated as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from zenzefi.plugins import (
    Context,
    Edit,
    JsonValue,
    Match,
    Mount,
    Needs,
    OriginFinder,
    Plugin,
    PluginOptions,
    Scanner,
)

_GUARD = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\)\]\}'(?:[^\n\[{\"]*\n)?|for\s*\(;;\);|while\s*\(1\);)?"
    rb"[\x09\x0a\x0d\x1e ]*"
)
# A brace without a name in double quotes is a script, even if it is labelled JSON: `{url: '/x'}`.
_VALUE = re.compile(rb"\{[\x09\x0a\x0d ]*[\"}]|[\[\"\d-]|true\b|false\b|null\b|\Z")
_BEGINNINGS = (
    b"\xef\xbb\xbf",
    b")]}'",
    b"for(;;);",
    b"while(1);",
    b"{",
    b"true",
    b"false",
    b"null",
)
_PATIENCE = 64


class Json(Plugin):
    """Maps strings that begin with the upstream's origin.

    At a root mount, where no script of the gate maps what the page makes of a string, every mention
    of the origin in one is mapped too: markup, lists of images.
    """

    name = "json"
    matches = Match(
        content_types=(
            "application/json",
            "*/*+json",
            "text/json",
            "application/x-ndjson",
            "application/x-json-stream",
            "application/jsonl",
            "application/json-seq",
        )
    )
    needs = Needs.CHUNKS

    def applies(self, context: Context) -> bool:
        """Skip rule sets, which have their own plugin."""
        return context.content_type != "application/speculationrules+json"

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """True: only absolute URLs of the upstream are mapped."""
        return True

    def scanner(self, context: Context) -> Scanner:
        """The scanner for JSON or for a script, by the first bytes."""
        mount = context.mount
        accept = None if mount.is_root else _opens_string
        return _Scanner(OriginFinder(context.origins, mount), accept)


class RootedJson(Plugin):
    """Maps rooted strings of JSON that the options declare as URLs."""

    name = "json-rooted"
    matches = Json.matches
    needs = Needs.JSON
    after = ("json",)

    class Options(PluginOptions):
        """The rooted strings (``/x``) of JSON that are URLs; none by default."""

        keys: tuple[str, ...] = ()
        """Globs over the name of the string's member: ``*_url``, ``href``."""
        pointers: tuple[str, ...] = ()
        """JSON pointers (RFC 6901) in which ``*`` stands for one step: ``/items/*/link``."""
        paths: tuple[str, ...] = ("*",)
        """Globs over the upstream's paths of such responses."""

    options: Options

    def applies(self, context: Context) -> bool:
        """Only with options, and under a prefix: at a root mount, rooted strings stay the same."""
        options = self.options
        if context.mount.is_root or not (options.keys or options.pointers):
            return False
        return any(fnmatchcase(context.path, pattern) for pattern in options.paths)

    def _edits_mentions_only(self, mount: Mount, destination: str | None) -> bool:
        """True at a root mount and without options, where nothing is mapped."""
        return mount.is_root or not (self.options.keys or self.options.pointers)

    def json_value(self, context: Context, value: JsonValue) -> Edit | None:
        """Map the string if it is rooted and the options list its member or pointer."""
        if not value.raw.startswith((b'"/', b'"\\/')) or not self._named(value):
            return None
        old = str(value.value)
        new = old if old.startswith("//") else context.map(old)
        return value.replace(new) if new != old else None

    def _named(self, value: JsonValue) -> bool:
        key = next((part for part in reversed(value.path) if isinstance(part, str)), "")
        if any(fnmatchcase(key, pattern) for pattern in self.options.keys):
            return True
        steps = value.pointer.split("/")
        return any(
            len(parts) == len(steps)
            and all(part in ("*", step) for part, step in zip(parts, steps, strict=True))
            for parts in (pointer.split("/") for pointer in self.options.pointers)
        )


class _Scanner:
    def __init__(self, finder: OriginFinder, accept: Callable[[bytes], bool] | None) -> None:
        self._finder = finder
        self._accept = accept
        self._script: bool | None = None

    def scan(self, window: bytes, final: bool) -> tuple[int, Sequence[Edit]]:
        if self._script is None:
            guard = _GUARD.match(window)
            at = guard.end() if guard else 0
            if not final and _is_undecided(window[at : at + _PATIENCE]):
                return 0, []
            self._script = _VALUE.match(window, at) is None
        if self._script:
            return self._finder.edits(window, final)
        return self._finder.edits(window, final, self._accept)


def _is_undecided(rest: bytes) -> bool:
    """Whether more bytes are needed to tell JSON from a script."""
    bare = b"".join(rest.split())
    return len(rest) < _PATIENCE and any(word.startswith(bare) for word in _BEGINNINGS)


def _opens_string(before: bytes) -> bool:
    """Whether a string begins after ``before``, which ends with an unescaped quote."""
    if not before.endswith(b'"'):
        return False
    bare = before[:-1].rstrip(b"\\")
    return (len(before) - 1 - len(bare)) % 2 == 0
