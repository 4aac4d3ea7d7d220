"""Every mention of the upstream's origin in attributes is an address, at roots in texts too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.engine import PREFIX, ROOT, UPSTREAM, exchange, rewrite_body
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
ROOTS = [ROOT, CLIENT]
UP = str(UPSTREAM)
SIZES = [1, 7, 65536]


def rewritten(
    source: str,
    content_type: str = "text/html",
    mount: Mount = ROOT,
    size: int = 65536,
    destination: str | None = None,
) -> str:
    if content_type == "text/html":
        destination = "empty"  # a fragment: without the runtime script
    exchanged = exchange({"Content-Type": content_type}, mount=mount, destination=destination)
    if ENGINE.plan(exchanged) is None:
        return source
    return rewrite_body(ENGINE, exchanged, source.encode(), size).decode()


def moved(source: str, mount: Mount) -> str:
    return source.replace(UP, str(mount.public))


MARKUP = [
    "<button onclick=\"location.href='{U}/x'\">x</button>",
    "<a href='#' onclick='go(\"{U}/x\")'>x</a>",
    "<a href=\"javascript:location='{U}/x'\">x</a>",
    '<a href=" java\tscript:void(open(&quot;{U}/x&quot;))">x</a>',
    '<div data-url="{U}/x" data-n=1>x</div>',
    '<meta property="og:url" content="{U}/x">',
    "<meta name=twitter:image content={U}/x.png>",
    '<my-image src="{U}/x.png"></my-image>',
    "<x-y href={U}/x></x-y>",
    '<div data-props="{{&quot;url&quot;:&quot;{U}/x&quot;,&quot;b&quot;:1}}">x</div>',
    '<div data-props=\'{{"url":"{U}"}}\'></div>',
    '<img src="/a.png" data-srcset="{U}/a.png 1x, {U}/b.png 2x">',
    '<input value="{U}/x">',
    '<a href="{U}/a" data-next="{U}/b">x</a>',
    '<a data-next="{U}/b" href="{U}/a" title="see {U}/c">x</a>',
    '<link rel=x href="/a"><svg><g data-x="{U}/x"><a xlink:href="{U}/y"/></g></svg>',
    '<base href="{U}/b/"><p data-x="{U}/x">',
    '<script src="{U}/a.js" data-x="{U}/x"></script>',
    '<form action="{U}/a" data-x="{U}/x"><button formaction="{U}/b" onclick="f(\'{U}/c\')">',
]


@pytest.mark.parametrize("mount", ROOTS)
@pytest.mark.parametrize("source", MARKUP)
@pytest.mark.parametrize("size", SIZES)
def test_mentions_in_attributes_are_mapped(source: str, size: int, mount: Mount) -> None:
    page = (
        f"<!doctype html><p>x</p>{source}<p>y</p>".replace("{U}", UP)
        .replace("{{", "{")
        .replace("}}", "}")
    )
    assert rewritten(page, mount=mount, size=size) == moved(page, mount)
    assert rewritten(moved(page, mount), mount=mount, size=size) == moved(page, mount)


def test_a_spelling_of_slashes_and_schemes_is_kept() -> None:
    page = (
        '<p data-a="https:\\/\\/app.example\\/" data-b="wss://app.example" data-c="//app.example">'
    )
    assert rewritten(page) == page.replace("app.example", "seen.example")


STAYS = [
    "<p>Visible text: {U}/x</p>",
    "<textarea>{U}/x</textarea>",
    "<!-- <p data-url='{U}/x'> -->",
    '<p xmlns="{U}/ns" xmlns:a="{U}/ns">',
    '<a href="https://share.example/?u={U}/x">x</a>',
    '<p data-host="app.example" data-other="https://app.example.org/x">',
    "<p data-other='https://sub.app.example/x'>",
    '<meta http-equiv=refresh content="1 x;url={U}/x">',
]


@pytest.mark.parametrize("source", STAYS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mount", [ROOT, PREFIX])
def test_names_texts_and_other_origins_stay(source: str, size: int, mount: Mount) -> None:
    page = source.replace("{U}", UP)
    assert rewritten(page, size=size, mount=mount) == page


IN_ATTRIBUTES = [
    ('<p hx-get="{U}/x?y=1" hx-target="#z">', '<p hx-get="{M}/x?y=1" hx-target="#z">'),
    ("<p data-hx-post='{U}/x'>", "<p data-hx-post='{M}/x'>"),
    ('<div data-app="{U}">', '<div data-app="{O}">'),
    (
        '<div data-app="{&quot;a&quot;:&quot;{U}&quot;,&quot;b&quot;:&quot;{U}/x&quot;}">',
        '<div data-app="{&quot;a&quot;:&quot;{O}&quot;,&quot;b&quot;:&quot;{M}/x&quot;}">',
    ),
    (
        """<b onclick="location.href='{U}/x'; f('{U}')">""",
        """<b onclick="location.href='{M}/x'; f('{O}')">""",
    ),
    (
        '<a href="/x" data-a="{U}/y"><a href="/z">',
        '<a href="{P}/x" data-a="{M}/y"><a href="{P}/z">',
    ),
    ('<meta property="og:url" content="{U}/x">', '<meta property="og:url" content="{M}/x">'),
]


@pytest.mark.parametrize(("source", "expected"), IN_ATTRIBUTES)
@pytest.mark.parametrize("size", SIZES)
def test_under_a_prefix_an_origin_stays_an_origin(source: str, expected: str, size: int) -> None:
    gate = str(PREFIX.public)
    for name, text in (("M", gate + PREFIX.prefix), ("O", gate), ("P", PREFIX.prefix)):
        expected = expected.replace("{" + name + "}", text)
    out = rewritten(source.replace("{U}", UP), mount=PREFIX, size=size)
    assert out == expected
    assert rewritten(out, mount=PREFIX, size=size) == expected


def test_under_a_prefix_values_of_form_controls_stay() -> None:
    page = f'<input name="next" value="{UP}/x" data-url="/y"><option value={UP}>'
    assert rewritten(page, mount=PREFIX) == page


@given(
    st.lists(st.sampled_from([*MARKUP, *STAYS, "<p title='a>b'>", "<script>'<p>'</script>"])),
    st.integers(1, 40),
)
def test_the_cut_into_chunks_makes_no_difference(parts: list[str], size: int) -> None:
    page = "".join(parts).replace("{U}", UP)
    assert rewritten(page, size=size) == rewritten(page)


# --- JSON, streams and other texts ----------------------------------------------------------------

JSON = [
    '{"html": "<a href=\\"{U}/x\\">x</a>"}',
    '{"srcset": "/a.png 1x, {U}/b.png 2x", "text": "see {U}/y"}',
    '{"a": "{U}"}',
]


@pytest.mark.parametrize("mount", ROOTS)
@pytest.mark.parametrize("source", JSON)
def test_mentions_in_strings_of_json_are_mapped(source: str, mount: Mount) -> None:
    text = source.replace("{U}", UP)
    assert rewritten(text, "application/json", mount) == moved(text, mount)
    if '"{U}' not in source:
        assert rewritten(text, "application/json", PREFIX) == text


TEXTS = {
    "text/event-stream": 'event: add\ndata: {"url": "{U}/x"}\n\ndata: <a href=\'{U}/y\'>\n\n',
    "text/plain": "{U}/x\n",
    "text/vnd.turbo-stream.html": "<turbo-stream><template><p data-x='{U}/x'></template>",
    "multipart/mixed; boundary=b": "--b\r\nContent-Type: a/b\r\n\r\n{U}/x\r\n--b--",
}


@pytest.mark.parametrize("mount", ROOTS)
@pytest.mark.parametrize("content_type", TEXTS)
@pytest.mark.parametrize("size", SIZES)
def test_mentions_in_texts_are_mapped_at_root_mounts_only(
    content_type: str, size: int, mount: Mount
) -> None:
    text = TEXTS[content_type].replace("{U}", UP)
    assert rewritten(text, content_type, mount, size, "empty") == moved(text, mount)
    headers = {"Content-Type": content_type}
    assert ENGINE.plan(exchange(headers, destination="empty")) is None


@pytest.mark.parametrize("destination", ["document", "iframe", None])
def test_a_text_that_is_shown_stays(destination: str | None) -> None:
    plain = exchange({"Content-Type": "text/plain"}, mount=ROOT, destination=destination)
    assert ENGINE.plan(plain) is None


def test_an_event_leaves_when_it_is_complete() -> None:
    rewrite = ENGINE.plan(exchange({"Content-Type": "text/event-stream"}, mount=ROOT))
    assert rewrite is not None
    event = f'data: "{UP}/x"\n\n'.encode()
    assert rewrite.feed(event) == event.replace(b"app.example", b"seen.example")


# --- parts ----------------------------------------------------------------------------------------


def part(head: str, body: str) -> str:
    return f"--b\r\n{head}\r\n\r\n{body}\r\n"


def batch(body: str) -> str:
    response = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    outer = f"Content-Type: application/http\r\nContent-Length: {len(response)}"
    return (
        "preamble\r\n"
        + part(outer, response)
        + part("Content-Type: text/plain", body)
        + part(f"content-length:{len(body)}", body)
        + "--b--\r\n"
    )


@pytest.mark.parametrize("body", ["", "x", f'{{"a": "{UP}/x", "b": "{UP}/y"}}', f"{UP}/ " * 45])
@pytest.mark.parametrize("size", [1, 3, 100, 65536])
def test_the_lengths_of_parts_are_those_of_their_mapped_bodies(body: str, size: int) -> None:
    expected = batch(moved(body, ROOT))
    assert rewritten(batch(body), "multipart/mixed; boundary=b", ROOT, size) == expected


def test_a_part_without_a_length_passes_as_it_arrives() -> None:
    headers = {"Content-Type": 'multipart/mixed; boundary="-"'}
    rewrite = ENGINE.plan(exchange(headers, mount=ROOT))
    assert rewrite is not None
    text = f'---\r\nContent-Type: application/json\r\n\r\n{{"a": "{UP}/x"}}\r\n---\r\n'.encode()
    out = rewrite.feed(text)
    assert b"seen.example/x" in out
    assert out.endswith(b"---")


@pytest.mark.parametrize("size", [5000, 65536])
def test_a_part_that_is_too_long_to_be_held_passes_unchanged(size: int) -> None:
    body = f"{UP}/x " * 20_000
    long = part(f"Content-Length: {len(body)}", body)
    after = part("A: b", f"{UP}/y") + "--b--"
    out = rewritten(long + after, "multipart/mixed; boundary=b", ROOT, size)
    assert out == long + moved(after, ROOT)


def test_without_a_boundary_nothing_changes() -> None:
    text = TEXTS["multipart/mixed; boundary=b"].replace("{U}", UP)
    assert rewritten(text, "multipart/mixed") == text
