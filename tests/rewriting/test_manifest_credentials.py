"""A page's web manifest is fetched with the browser's cookies; without them it gets 401."""

from __future__ import annotations

import pytest

from tests.kit.engine import exchange, rewrite_body
from tests.kit.mounts import CLIENT_ROOT, MOUNTS, UPSTREAMS
from zenzefi.origin import Mount
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
UPSTREAM = UPSTREAMS[0]
WITH = 'crossorigin="use-credentials"'
BROWSERS = [mount for mount in MOUNTS if mount is not CLIENT_ROOT]


def page(mount: Mount, source: str, size: int = 65536) -> str:
    """The page, as the gate sends it: unread if the search finds nothing in it."""
    exchanged = exchange(
        {"Content-Type": "text/html"},
        mount=mount,
        mapper=UrlMapper(UPSTREAM, mount),
        destination="empty",
    )
    search = ENGINE.origin_search(exchanged)
    if search is not None and not search.finds(source.encode(), ""):
        return source
    return rewrite_body(ENGINE, exchanged, source.encode(), size).decode()


@pytest.mark.parametrize("mount", BROWSERS, ids=str)
@pytest.mark.parametrize(
    "rest",
    [
        "rel=manifest href=m",
        "rel='manifest' href='m'",
        'href="m" rel="manifest"',
        'rel="icon manifest" href="m"',
        "REL=Manifest\nHREF=m",
        'rel = "MANIFEST" href="m"',
    ],
)
def test_the_link_asks_for_credentials(rest: str, mount: Mount) -> None:
    for size in (1, 7, 65536):
        source = f"<!doctype html><title>x</title><link {rest}><p>"
        out = page(mount, source, size)
        assert out == f"<!doctype html><title>x</title><link {WITH} {rest}><p>"
        assert page(mount, out, size) == out


@pytest.mark.parametrize("mount", BROWSERS, ids=str)
@pytest.mark.parametrize(
    "spelled", ["crossorigin", "crossorigin=anonymous", "CrossOrigin=''", 'crossorigin="x"']
)
def test_another_mode_is_replaced(spelled: str, mount: Mount) -> None:
    out = page(mount, f"<link rel=manifest {spelled} href=m>")
    assert out == f"<link rel=manifest {WITH} href=m>"


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize(
    "source",
    [
        f"<link rel=manifest {WITH} href=m>",
        "<link rel=manifest crossorigin=use-credentials href=m>",
        "<link rel=manifest href='https://cdn.example/m'>",
        "<link rel=manifesto href=m>",
        "<link rel=icon href=manifest.png>",
        "<a rel=manifest href=m>manifest</a>",
    ],
)
def test_other_links_stay(source: str, mount: Mount) -> None:
    assert page(mount, source) == source


def test_the_desktop_client_sends_its_token_with_every_request() -> None:
    source = "<link rel=manifest href=m>"
    assert page(CLIENT_ROOT, source) == source


@pytest.mark.parametrize("mount", BROWSERS, ids=str)
def test_the_address_is_mapped_too(mount: Mount) -> None:
    out = page(mount, f"<link rel=manifest href='{UPSTREAM}/m'><link rel=manifest href=/n>")
    first, second = f"{mount.root}m", f"{mount.prefix}/n"
    assert (
        out == f"<link {WITH} rel=manifest href='{first}'><link {WITH} rel=manifest href={second}>"
    )
