"""Each kind of own origin in Chromium and Firefox: the measurements of ADR 0014 as a test."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scripts.measure_own_origin import CASES, Case, measure

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# What scripts of the application can put into the requests to the gate's host.
CROSSING = {
    "another name of the loopback": (),
    "the same, gate at localhost": (),
    # Its page names the upstream's host, so it has the runtime script, which removes every Domain.
    "second port": ("for_0_0_1", "for_0_1", "for_1", "for_127_0_0_1", "host_only"),
    "subdomain": ("for_gate_example",),
    "sibling domain": (),
}
ENDS_AT = {
    "another name of the loopback": "app.localhost",
    "the same, gate at localhost": "app.localhost",
    "second port": "127.0.0.1",
    "subdomain": "app.gate.example",
    "sibling domain": "app.example",
}


@pytest.mark.parametrize("browser", ["chromium", "firefox-esr"])
@pytest.mark.parametrize(
    "case", [case for case in CASES if case.title in CROSSING], ids=lambda case: case.title
)
async def test_a_browser_is_signed_in_and_no_cookie_of_the_gate_is_seen(
    browser: str, case: Case, tmp_path: Path
) -> None:
    if shutil.which(browser) is None:
        pytest.skip(f"{browser} is not installed")
    for name in ("gate", "profile"):
        (tmp_path / name).mkdir()
    found = await measure(browser, case, tmp_path)
    parts = urlsplit(found.url)
    assert parts.hostname == ENDS_AT[case.title]
    assert f"{parts.path}?{parts.query}" == "/page?x=1%2F2"
    assert not found.sees_gate_cookies
    assert found.socket_opens
    assert found.crossed == CROSSING[case.title]
