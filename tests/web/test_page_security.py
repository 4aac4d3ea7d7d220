"""Which requests the pages take, and where they may lead."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.http.errors import CrossSiteRefused
from zenzefi.keys import Signer
from zenzefi.web.page_security import (
    form_token,
    is_form_token,
    own_path,
    page_headers,
    refuse_cross_site,
    require_navigation,
)

KEY = Signer([b"k" * 32])
MOUNT = "/api/v1/proxy"


def request(**headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("POST", "/account", headers={"Host": "gate.example", **named})


def test_a_navigation_of_the_window_may_read_a_page() -> None:
    require_navigation(request(Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document"))


def test_a_program_without_fetch_metadata_may_read_a_page() -> None:
    require_navigation(request())


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"},
        {"Sec_Fetch_Mode": "same-origin", "Sec_Fetch_Dest": "empty"},
        {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"},
        {"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"},
    ],
)
def test_a_script_or_a_frame_may_not_read_a_page_even_of_the_same_origin(
    headers: dict[str, str],
) -> None:
    with pytest.raises(CrossSiteRefused):
        require_navigation(request(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://gate.example"},
        {"Origin": "http://gate.example", "Referer": "http://gate.example/account"},
        {},
    ],
)
def test_the_gates_own_forms_are_taken(headers: dict[str, str]) -> None:
    refuse_cross_site(request(**headers), MOUNT)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "https://gate.example.evil.example"},
        {"Origin": "https://gate.example:8443"},
        {"Origin": "ftp://gate.example"},
        {"Origin": "https://[broken"},
        {"Referer": "https://evil.example/account"},
        {"Sec_Fetch_Site": "same-origin", "Referer": "https://gate.example/api/v1/proxy/page"},
        {"Referer": "https://gate.example/api/v1/proxy"},
    ],
)
def test_forms_of_other_sites_and_of_the_mount_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(CrossSiteRefused):
        refuse_cross_site(request(**headers), MOUNT)


def test_a_form_token_is_good_for_its_visitor_only_and_never_the_same_twice() -> None:
    token = form_token(KEY, "mine")
    assert is_form_token(KEY, "mine", token)
    assert token != form_token(KEY, "mine")
    assert not is_form_token(KEY, "theirs", token)
    assert not is_form_token(Signer([b"other" * 8]), "mine", token)
    assert not is_form_token(KEY, "mine", "")


@given(st.text(max_size=120))
def test_no_invented_form_token_is_taken(token: str) -> None:
    assert not is_form_token(KEY, "mine", token)


@pytest.mark.parametrize(
    "path",
    ["/account", "/account/buy?hours=24", "/", "/admin/users?search=a", "/login#top", "/account#x"],
)
def test_own_paths_are_followed(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "https://evil.example/",
        "//evil.example/account",
        "/\\evil.example",
        "/account/../api/v1/proxy/x",
        "/account\n//evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "account",
        "/api/v1/proxy/page",
        "/account/%2e%2e/api",
        "/ evil",
        "/account" + "a" * 600,
    ],
)
def test_other_places_are_not(path: str) -> None:
    assert own_path(path) == "/account"


@given(st.text(max_size=60))
def test_no_address_redirects_the_browser_away_from_the_gate(path: str) -> None:
    found = own_path(path)
    assert found.startswith("/")
    assert not found.startswith(("//", "/\\"))
    assert found.isascii()
    assert found.isprintable()


def test_the_policy_allows_nothing_inline_and_no_frame() -> None:
    headers = page_headers("abc", ["https://app.gate.example"])
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'nonce-abc'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self' https://app.gate.example" in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
