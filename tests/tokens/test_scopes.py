"""The path patterns of scopes: the paths that they match, and the time it takes."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.tokens.errors import ScopeRefused
from zenzefi.tokens.scopes import Scopes


def covers(rule: str, path: str) -> bool:
    try:
        Scopes({"s": [rule]}).check("s", path, "GET")
    except ScopeRefused:
        return False
    return True


def meant(rule: str) -> str:
    """The documented meaning: ``*`` matches anything but a slash, ``**`` anything."""
    parts = re.split(r"(\*\*|\*)", rule)
    return "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts)


@given(
    st.lists(st.sampled_from(["*", "**", "a", "b", "/", "ab"]), max_size=8).map("".join),
    st.lists(st.sampled_from(["a", "b", "/a", "/b"]), max_size=12).map("".join),
)
def test_wildcards_match_like_the_documented_expressions(rule: str, path: str) -> None:
    expected = re.fullmatch(meant("/" + rule), "/" + path.lstrip("/")) is not None
    assert covers("/" + rule, "/" + path.lstrip("/")) is expected


@pytest.mark.parametrize(
    "rule", ["/**/a/**/b/**/c", "/**a**b**c**d/x", "/*a*b*c*d/x", "/x/**/a/*/b/**/z"]
)
@pytest.mark.parametrize("unit", ["/a", "a", "/a/b", "ab", "/a/x/b"])
def test_several_wildcards_match_in_linear_time(rule: str, unit: str) -> None:
    scopes = Scopes({"s": [rule]})

    def cost(size: int) -> float:
        path = "/" + (unit * (size // len(unit))).lstrip("/")
        start = time.thread_time()
        with pytest.raises(ScopeRefused):
            scopes.check("s", path, "GET")
        return time.thread_time() - start

    small = max(cost(2000) for _ in range(3))
    assert min(cost(8000) for _ in range(3)) <= max(0.02, 9 * small)
