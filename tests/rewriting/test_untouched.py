"""Content that must not change passes byte-identical, at every mount."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.engine import PREFIX, ROOT, exchange, rewrite_body
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
BODIES = {
    "text/html": b'<a href="https://app.example/x">',
    "text/css": b"a{background:url(https://app.example/x)}",
    "application/json": b'["https://app.example/x"]',
    "text/javascript": b'"https://app.example/x"',
    "application/rss+xml": b"<link>https://app.example/x</link>",
    "image/svg+xml": b'<svg><use href="https://app.example/x"/></svg>',
    "application/vnd.apple.mpegurl": b"https://app.example/x\n",
}
kinds = st.sampled_from(sorted(BODIES))
mounts = st.sampled_from([PREFIX, ROOT])
no_transform = st.sampled_from(
    ["no-transform", "No-Transform", "no-cache,no-transform", "max-age=1, no-transform , private"]
)
attachment = st.sampled_from(
    ["attachment", "ATTACHMENT", 'attachment; filename="a.html"', "attachment ;filename=a"]
)


def passes(kind: str, mount: Any, headers: dict[str, str], **changes: Any) -> bool:
    exchanged = exchange({"Content-Type": kind, **headers}, mount=mount, **changes)
    return ENGINE.plan(exchanged) is None and ENGINE.origin_search(exchanged) is None


@given(kinds, mounts, no_transform, st.sampled_from([None, "document", "style", "script", "empty"]))
def test_no_transform_forbids_every_change(
    kind: str, mount: Any, control: str, destination: str | None
) -> None:
    assert passes(kind, mount, {"Cache-Control": control}, destination=destination)


@given(kinds, mounts, attachment, st.sampled_from([None, "document", "iframe", "empty"]))
def test_a_file_to_save_stays(
    kind: str, mount: Any, disposition: str, destination: str | None
) -> None:
    assert passes(kind, mount, {"Content-Disposition": disposition}, destination=destination)


@pytest.mark.parametrize("mount", [PREFIX, ROOT])
@pytest.mark.parametrize(
    ("headers", "destination"),
    [
        ({"Cache-Control": 'x="no-transform"'}, None),
        ({"Cache-Control": "no-transformation, no-store"}, None),
        ({"Content-Disposition": "inline; filename=attachment"}, None),
        ({"Content-Disposition": "attachments"}, None),
        ({"Content-Disposition": "attachment"}, "style"),
    ],
)
def test_nothing_else_counts_as_such_a_header(
    mount: Any, headers: dict[str, str], destination: str | None
) -> None:
    made = rewrite_body(
        ENGINE,
        exchange({"Content-Type": "text/css", **headers}, mount=mount, destination=destination),
        BODIES["text/css"],
    )
    assert b"app.example" not in made


@pytest.mark.parametrize("mount", [PREFIX, ROOT])
def test_a_head_request_gets_the_headers_of_the_body_that_stays(mount: Any) -> None:
    headers = {
        "Content-Type": "text/html",
        "Content-Length": "32",
        "ETag": '"1"',
        "Content-Disposition": "attachment",
    }
    assert dict(ENGINE.map_response_headers(exchange(headers, mount=mount, method="HEAD"))) == (
        headers
    )


@given(
    kinds,
    mounts,
    st.sampled_from(["utf-8", "none", "binary", "UTF-8, none", "identity", "8bit", "text/html"]),
)
def test_a_content_encoding_that_browsers_ignore_is_ignored(
    kind: str, mount: Any, coding: str
) -> None:
    exchanged = exchange({"Content-Type": kind, "Content-Encoding": coding}, mount=mount)
    made = rewrite_body(ENGINE, exchanged, BODIES[kind])
    assert b"app.example" not in made
