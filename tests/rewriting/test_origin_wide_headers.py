"""Under a prefix no response header of the upstream reaches beyond the mount."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.header_values import View
from zenzefi.rewriting.headers import ORIGIN_WIDE, TABLE, map_headers
from zenzefi.rewriting.urls import UrlMapper

UPSTREAM = Origin("http", "10.0.0.5", 8000)
GATE = Origin("https", "gate.example", 443)
MOUNT = "/api/v1/proxy"
PREFIX = Mount(MountKind.PREFIX, GATE, MOUNT)
ROOT = Mount(MountKind.ORIGIN, Origin("https", "app.example", 443))
PLAIN = Mount(MountKind.PREFIX, Origin("http", "gate.example", 8000), "/p")

# Everything that a browser remembers for an origin, written down from the specifications and not
# from the table: what a response says under one of these names, the gate's pages would feel.
REMEMBERED = (
    *("Strict-Transport-Security", "Public-Key-Pins", "Expect-CT", "Alt-Svc", "Onion-Location"),
    *("NEL", "Report-To", "Accept-CH", "Critical-CH", "Set-Login", "Activate-Storage-Access"),
    *("Observe-Browsing-Topics", "Shared-Storage-Write", "Sec-Session-Registration"),
    *("Secure-Session-Registration", "Attribution-Reporting-Register-Source"),
    *("Attribution-Reporting-Register-Trigger", "Ad-Auction-Signals", "Sec-Session-Challenge"),
)


def sent(name: str, *values: str, mount: Mount = PREFIX, path: str = "/js/sw.js") -> list[str]:
    view = View(f"{UPSTREAM}{path}", UrlMapper(UPSTREAM, mount), mount)
    return [value for _, value in map_headers([(name, value) for value in values], view)]


@given(st.sampled_from([*REMEMBERED, *ORIGIN_WIDE]), st.text(max_size=30))
@example("NEL", '{"report_to":"x","include_subdomains":true}')
def test_nothing_that_a_browser_remembers_for_an_origin_passes(name: str, value: str) -> None:
    for spelling in (name, name.lower(), name.upper()):
        assert sent(spelling, value) == []


@pytest.mark.parametrize("name", ORIGIN_WIDE)
def test_at_a_root_the_origin_is_the_applications_own(name: str) -> None:
    assert sent(name, "?1", mount=ROOT) == ["?1"]


@given(
    st.lists(
        st.sampled_from(['"*"', '"cookies"', '"storage"', '"cache"', '"clientHints"']), max_size=5
    )
)
def test_nothing_but_caches_is_cleared(kinds: list[str]) -> None:
    for value in sent("Clear-Site-Data", ", ".join(kinds)):
        assert set(value.split(", ")) == {'"cache"'}


PIECES = st.sampled_from(
    [
        *(
            "/",
            "//",
            "\\",
            "..",
            "%2e%2e",
            ".%2E",
            ".",
            "x",
            "%2f",
            "%5c",
            "\t",
            "\n",
            " ",
            "?",
            "#",
        ),
        *(
            "https:",
            "http:",
            "HTTPS:",
            "gate.example",
            "GATE.example:443",
            "10.0.0.5:8000",
            "user@",
        ),
        *("/api/v1/proxy", "/api/v1/proxy/", "/p/", "/account", "é", "\x00", ":", ";", ",", "js"),
    ]
)


def scope_of(values: list[str], script: str) -> str:
    """The widest scope as browsers compute it (Service Workers, "Update", steps 7 to 9)."""
    folder = urlsplit(script).path.rpartition("/")[0] + "/"
    if not values:
        return folder
    value = re.sub(r"[\t\n\r]", "", ", ".join(values).strip("".join(map(chr, range(0x21)))))
    value = value.replace("\\", "/").replace("%2e", ".").replace("%2E", ".")
    resolved = urlsplit(urljoin(script, value))
    script_origin = urlsplit(script)
    if (resolved.scheme, resolved.netloc) != (script_origin.scheme, script_origin.netloc):
        return folder
    return resolved.path or "/"


@given(st.lists(st.lists(PIECES, max_size=7).map("".join), min_size=1, max_size=3))
@example(["https://gate.example/"])
@example(["//gate.example/"])
@example(["\\\\gate.example\\"])
@example(["/\\gate.example/"])
@example(["https:/"])
@example(["https:"])
@example([""])
@example(["https://gate.example/api/v1/proxy/../../.."])
@example(["https://gate.example/api/v1/proxy/%2e%2e/%2e%2e/.%2e/"])
@example(["/..", "../../../.."])
def test_the_scope_of_a_service_worker_stays_below_the_mount(values: list[str]) -> None:
    for mount in (PREFIX, PLAIN):
        passed = sent("Service-Worker-Allowed", *values, mount=mount)
        for value in passed:
            assert re.fullmatch(r"[!-~]+", value)
        script = f"{mount.public}{mount.prefix}/js/sw.js"
        assert scope_of(passed, script).startswith(f"{mount.prefix}/")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/", [f"{MOUNT}/"]),
        ("/app/", [f"{MOUNT}/app/"]),
        ("..", [f"{MOUNT}/"]),
        ("http://10.0.0.5:8000/app/", [f"{MOUNT}/app/"]),
        ("https://gate.example/api/v1/proxy/app/", [f"{MOUNT}/app/"]),
        ("https://gate.example/account/", []),
        ("https://other.example/", []),
    ],
)
def test_a_scope_that_is_the_applications_arrives(value: str, expected: list[str]) -> None:
    assert sent("Service-Worker-Allowed", value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("noopener-allow-popups", "same-origin-allow-popups"),
        (' noopener-allow-popups;report-to="a"', ' same-origin-allow-popups;report-to="a"'),
        ("same-origin", "same-origin"),
        ("same-origin-allow-popups", "same-origin-allow-popups"),
        ("unsafe-none", "unsafe-none"),
    ],
)
def test_a_document_never_has_the_opener_policy_of_the_gates_pages(
    value: str, expected: str
) -> None:
    assert sent("Cross-Origin-Opener-Policy", value) == [expected]
    assert sent("Cross-Origin-Opener-Policy", value, mount=ROOT) == [value]


def test_every_header_that_browsers_know_has_a_row() -> None:
    known = {row.name.lower() for row in TABLE}
    assert {name.lower() for name in REMEMBERED} <= known
