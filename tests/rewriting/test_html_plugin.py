"""The html and css plugins in the engine: who gets the runtime, and that edits compose."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("https", "app.example", 443)
PREFIX = Mount(MountKind.PREFIX, Origin("http", "gate.example", 8000), "/m")
ROOT = Mount(MountKind.ORIGIN, Origin("https", "seen.example", 443))
NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def run(
    data: bytes,
    *,
    mount: Mount = PREFIX,
    destination: str | None = "document",
    request: dict[str, str] | None = None,
    content_type: str = "text/html",
    options: dict[str, dict[str, object]] | None = None,
) -> bytes:
    engine = Engine(Registry([bundled("plugins")], entry_points=False, options=options or {}))
    rewrite = engine.plan(
        ExchangeHead(
            method="GET",
            url="https://app.example/dir/page",
            status=200,
            mapper=UrlMapper(UPSTREAM, mount),
            mount=mount,
            destination=destination,
            request_headers=CIMultiDictProxy(CIMultiDict(request or {})),
            response_headers=CIMultiDictProxy(CIMultiDict({"Content-Type": content_type})),
        )
    )
    assert rewrite is not None
    return rewrite.feed(data) + rewrite.finish()


@pytest.mark.parametrize("destination", ["document", "iframe", "frame", "embed", "object"])
def test_a_document_under_a_prefix_gets_the_runtime_first(destination: str) -> None:
    out = run(b"<!doctype html><head><title>x</title>", destination=destination)
    assert out.startswith(b'<!doctype html><head><script src="/m/.zenzefi/runtime.js?v=')
    assert out.endswith(b"></script><title>x</title>")


@pytest.mark.parametrize("destination", ["empty", "script", "style"])
def test_what_a_script_fetches_gets_none(destination: str) -> None:
    assert b"runtime" not in run(b"<p><a href=x>y</a>", destination=destination)


def test_where_browsers_say_no_destination_a_navigation_is_known_by_what_it_accepts() -> None:
    assert b"runtime" in run(b"<p>", destination=None, request={"Accept": NAVIGATION})
    for accepted in ("*/*", "text/html, */*; q=0.01"):
        assert b"runtime" not in run(b"<p>", destination=None, request={"Accept": accepted})


SCRIPT = b'var a = "<a href=\\"/x\\">";'


def test_a_script_labelled_as_html_is_left_alone_unless_a_browser_shows_it() -> None:
    assert run(SCRIPT, destination="empty") == SCRIPT
    assert run(SCRIPT, destination=None, request={"Accept": "*/*"}) == SCRIPT
    shown = run(b"// <a href=/x>", destination="document", mount=PREFIX)
    assert shown.endswith(b"// <a href=/m/x>")


def test_a_root_mount_gets_none_and_leaves_byte_identical() -> None:
    page = b"<!doctype html><a href=/x>y</a><script>'//other.example'</script>"
    assert run(page, mount=ROOT) == page


def test_the_runtime_can_be_switched_off() -> None:
    assert run(b"<a href=/x>", options={"html": {"runtime": False}}) == b"<a href=/m/x>"


def test_inline_scripts_and_policies_name_the_gate_instead() -> None:
    out = run(
        b"<meta http-equiv=content-security-policy content='img-src https://app.example'>"
        b"<script>u='https://app.example/x'</script>",
        destination="empty",
    )
    assert b"img-src http://gate.example:8000" in out
    assert b"u='http://gate.example:8000/m/x'" in out
    assert b"app.example" not in out


def test_edits_of_a_token_plugin_compose_with_the_mapping() -> None:
    out = run(
        b"<body class=a><a href=/x>y</a>",
        options={"html": {"runtime": False}, "banner": {"enabled": True, "text": "Hi"}},
    )
    assert out == (b'<body class=a><div role="note" data-zenzefi-banner>Hi</div><a href=/m/x>y</a>')


def test_a_style_sheet_is_mapped() -> None:
    out = run(b"a{b:url(/x)}", destination="style", content_type="text/css")
    assert out == b"a{b:url(/m/x)}"
