"""Values that plugins change: what would be ambiguous or malformed is refused at once."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from zenzefi.http.errors import AmbiguousRequest
from zenzefi.http.target import check_path, split_target
from zenzefi.http_syntax import canonical_path, path_readings
from zenzefi.plugins import OutgoingRequest

PIECES = st.lists(
    st.sampled_from(
        [
            "/",
            "..",
            ".",
            "%2e",
            "%2E",
            "%252e",
            ";",
            "a",
            "%61",
            "\\",
            "%5c",
            "?",
            "#",
            " ",
            "é",
            "//",
        ]
    ),
    max_size=8,
).map("".join)


@given(PIECES)
@example("/a/../b")
@example("/a/./b")
@example("/a/..;x=1/b")
def test_a_path_that_a_plugin_may_set_is_one_that_the_gate_would_accept(path: str) -> None:
    request = OutgoingRequest("GET", "/", None, CIMultiDict())
    try:
        request.path = path
    except ValueError:
        assert request.path == "/"
    else:
        assert split_target(path, "x").path == path
        check_path(path)


@given(PIECES)
def test_every_path_that_the_gate_accepts_has_its_canonical_one_among_its_readings(
    path: str,
) -> None:
    try:
        check_path(path)
    except AmbiguousRequest:
        return
    readings = path_readings(path)
    assert readings[0] == canonical_path(path)
    assert len(readings) <= 40


@pytest.mark.parametrize("spelled", ["/admin", "/%61dmin", "/%2561dmin", "//admin", "/admin;x=1"])
def test_a_protected_path_is_among_the_readings_of_its_spellings(spelled: str) -> None:
    assert "/admin" in path_readings(spelled)
