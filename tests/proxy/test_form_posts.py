"""Forms of sign-in providers, which browsers send without cookies: sent again, or refused."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.proxy_gates import TOKEN, BrowserMount, MountFactory

PROVIDER = "https://login.example"
PATH = "/signin-oidc"
SENT = {
    "Origin": PROVIDER,
    "Sec-Fetch-Site": "cross-site",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Content-Type": "application/x-www-form-urlencoded",
    "User-Agent": "Mozilla/5.0",
    "Accept": "text/html",
}
FIELDS = [("code", "a b+c/=&é"), ("state", ""), ("submit", "1"), ("code", "x\r\ny")]


class Form(HTMLParser):
    """The fields and the attributes of the one form of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []
        self.form: dict[str, str | None] = {}
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "form":
            self.form = found
        elif tag == "input":
            self.fields.append((found["name"] or "", found["value"] or ""))


@pytest.fixture
async def mount(start_mount: MountFactory, upstream: str) -> BrowserMount:
    found = await start_mount(
        upstream, form_post_origins=[PROVIDER], form_post_paths=[PATH, "/saml/acs"]
    )
    found.gate.tokens.add(TOKEN, activated=True)
    return found


async def posted(
    mount: BrowserMount, content: str | bytes, path: str = PATH, **changed: str | None
) -> tuple[int, str, str]:
    """Status, head and body of the response to a form of the provider."""
    names = {name.replace("-", "_").lower(): name for name in SENT}
    headers: dict[str, str | None] = dict(SENT)
    headers |= {names.get(name.lower(), name): value for name, value in changed.items()}
    data = content.encode() if isinstance(content, str) else content
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    host = mount.host.get("Host", f"127.0.0.1:{mount.gate.port}")
    head = "\r\n".join(
        (
            f"POST {mount.prefix}{path} HTTP/1.1",
            *(f"Host: {host}", *lines, f"Content-Length: {len(data)}", "Connection: close"),
        )
    )
    response = await mount.gate.raw(head.encode() + b"\r\n\r\n" + data)
    top, _, body = response.decode().partition("\r\n\r\n")
    return int(top.split(" ")[1]), top, body


async def test_the_page_sends_the_same_fields_from_the_applications_origin(
    mount: BrowserMount,
) -> None:
    status, head, page = await posted(mount, urlencode(FIELDS), f"{PATH}?a=b")
    assert status == 200
    form = Form(page)
    assert form.fields == FIELDS
    assert form.form == {"method": "post", "accept-charset": "utf-8"}  # to its own address
    assert form.tags.count("script") == 1
    assert "no-store" in head
    policy = next(line for line in head.split("\r\n") if line.startswith("Content-Security"))
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy


async def test_the_second_form_reaches_the_application(mount: BrowserMount) -> None:
    gate = mount.gate
    secret = gate.sign_ins.add(agent="Mozilla/5.0", is_sealed=False)
    content = urlencode(FIELDS)
    status, _, body = await posted(
        mount,
        content,
        Origin=mount.origin,
        sec_fetch_site="same-origin",
        Cookie=f"zenzefi_access_token={TOKEN}; zenzefi_sign_in={secret}",
    )
    assert status == 200, body
    assert content in body  # the upstream echoes it


OTHERS: list[dict[str, str | None]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": None},
    {"Origin": f"{PROVIDER}.evil.example"},
    {"Origin": f"{PROVIDER}:8443"},
    {"Origin": "http://login.example"},
    {"Origin": f"{PROVIDER}\r\nOrigin: https://evil.example"},
    {"path": "/transfer"},
    {"path": f"{PATH}/x"},
    {"path": "/signin%2Doidc"},
    {"path": f"/x/..{PATH}"},
    {"sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "none"},
    {"sec_fetch_site": None},
    {"sec_fetch_mode": "cors"},
    {"sec_fetch_dest": "empty"},
    {"content_type": "text/plain"},
    {"content_type": "multipart/form-data; boundary=b"},
]


async def test_another_form_gets_no_cookies(mount: BrowserMount) -> None:
    for changed in OTHERS:
        status, _, page = await posted(mount, "code=1", **{"path": PATH, **changed})  # type: ignore[arg-type]
        assert status in (400, 401), changed
        assert "<form" not in page


async def test_without_the_settings_no_form_is_sent_again(
    start_mount: MountFactory, upstream: str
) -> None:
    mount = await start_mount(upstream)
    status, _, page = await posted(mount, "code=1")
    assert status == 401
    assert "<form" not in page


async def test_a_form_that_can_not_be_repeated_is_refused(mount: BrowserMount) -> None:
    for content, expected in (
        (b"a=%00", 400),
        (b"a=%ff", 400),
        (b"a=\xff", 400),
        (b"&".join([b"a=1"] * 65), 400),
        (b"a=" + b"x" * (512 * 1024), 413),
    ):
        status, _, page = await posted(mount, content)
        assert status == expected
        assert "<input" not in page


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from("ab\"'<>&;/=\r\n é"), max_size=6),
            st.sampled_from(
                ['"><script>alert(1)</script>', "</form>", "&quot;", "'", "a\rb", "\u2028", "😀"]
            ),
        ),
        max_size=4,
    )
)
async def test_no_field_leaves_its_attribute(
    mount: BrowserMount, fields: list[tuple[str, str]]
) -> None:
    _, _, page = await posted(mount, urlencode(fields))
    form = Form(page)
    assert form.fields == parse_qsl(urlencode(fields), keep_blank_values=True)
    assert form.tags.count("script") == 1
    assert len(re.findall("<script", page)) == 1
    assert html.unescape(page).count("HTMLFormElement") == 1
