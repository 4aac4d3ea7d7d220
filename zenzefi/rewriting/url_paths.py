"""Parts of URLs; dot segments (WHATWG URL Standard, section 4.4, path state)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PATH = re.compile(r"[^?#]*")
_AUTHORITY = re.compile(r"[^/\\?#]*")
_DOUBLE_DOT = re.compile(r"(?:\.|%2[eE]){2}")
_SINGLE_DOT = re.compile(r"\.|%2[eE]")


def authority_of(text: str) -> str:
    """The part of ``text``, which follows ``//``, before its path (backslashes count)."""
    found = _AUTHORITY.match(text)
    return found[0] if found else ""


def path_of(text: str) -> str:
    """The part of ``text`` before its query and fragment."""
    found = _PATH.match(text)
    return found[0] if found else ""


def climbs(path: str, depth: int) -> bool:
    """Whether the dot segments of ``path`` lead above the root, ``depth`` folders up."""
    for segment in path.replace("\\", "/").split("/"):
        if _DOUBLE_DOT.fullmatch(segment):
            depth -= 1
            if depth < 0:
                return True
        elif not _SINGLE_DOT.fullmatch(segment):
            depth += 1
    return False


def resolve_dots(path: str, folder: Sequence[str]) -> list[str]:
    """The segments of ``path`` below ``folder``, without dot segments."""
    out = list(folder)
    segments = path.replace("\\", "/").split("/")
    last = len(segments) - 1
    for i, segment in enumerate(segments):
        if _DOUBLE_DOT.fullmatch(segment):
            if out:
                out.pop()
            if i == last:
                out.append("")
        elif _SINGLE_DOT.fullmatch(segment):
            if i == last:
                out.append("")
        else:
            out.append(segment)
    return out
