"""The application's origin from the settings, conflicts, and warnings to the operator."""

from __future__ import annotations

from typing import Any

import pytest

from zenzefi.settings import SettingsError, load_settings
from zenzefi.settings.own_origin import notes

BASE = {"secret_key": "N3pTqzH0aYw7uVJrKc8dXf2LmB5sGe9RiOoUtZ1W"}


def load(**settings: Any) -> Any:
    return load_settings({**BASE, **settings})


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({}, "http://app.localhost:8000"),
        ({"backend_url": "http://localhost:80"}, "http://app.localhost"),
        ({"backend_url": "https://127.0.0.1:8443"}, "https://app.localhost:8443"),
        ({"backend_url": "http://[::1]:9"}, "http://app.localhost:9"),
        ({"backend_url": "http://app.localhost:9"}, "http://upstream.localhost:9"),
        ({"backend_url": "http://127.0.0.1:1", "proxy_port": 2}, "http://127.0.0.1:2"),
        ({"backend_url": "http://127.0.0.1:1", "browser_mount": "prefix"}, None),
        ({"backend_url": "https://gate.example"}, None),
        ({"backend_url": "https://gate.example", "proxy_port": 8443}, "https://gate.example:8443"),
        ({"backend_url": "https://gate.example", "proxy_host": "a.example"}, "https://a.example"),
        (
            {
                "backend_url": "https://gate.example",
                "proxy_host": "gate.example:8443",
                "browser_mount": "prefix",
            },
            "https://gate.example:8443",
        ),
    ],
)
def test_the_own_origin_follows_from_the_settings(
    settings: dict[str, Any], own: str | None
) -> None:
    found = load(**settings).own_origin
    assert (None if found is None else str(found)) == own


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"proxy_host": "a.example", "proxy_port": 81}, "PROXY_HOST and PROXY_PORT exclude"),
        ({"backend_url": "http://a.example:81", "proxy_port": 81}, "PROXY_PORT must differ"),
        ({"backend_url": "https://a.example", "proxy_port": 443}, "PROXY_PORT must differ"),
        ({"backend_url": "https://a.example", "proxy_host": "A.example"}, "PROXY_HOST must differ"),
        (
            {"backend_url": "https://a.example", "proxy_host": "a.example:443"},
            "PROXY_HOST must differ",
        ),
        ({"proxy_port": 0}, "PROXY_PORT"),
        ({"proxy_port": 65536}, "PROXY_PORT"),
        ({"browser_mount": "elsewhere"}, "BROWSER_MOUNT"),
    ],
)
def test_conflicting_mount_settings_are_rejected(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**settings)
    assert [text for text in caught.value.problems if problem in text]


PUBLIC = {"backend_url": "https://gate.example"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, []),
        ({"proxy_port": 81}, ["share cookies"]),
        (PUBLIC, ["Set PROXY_HOST"]),
        (PUBLIC | {"proxy_host": "app.example"}, []),
        (PUBLIC | {"proxy_host": "app.gate.example"}, ["is a subdomain of gate.example"]),
        (PUBLIC | {"proxy_host": "example"}, ["is a parent domain of gate.example"]),
        (PUBLIC | {"proxy_host": "gate.example:8443"}, ["share cookies"]),
        (PUBLIC | {"proxy_host": "notgate.example"}, []),
        (PUBLIC | {"browser_mount": "prefix"}, ["BROWSER_MOUNT=prefix"]),
        (
            PUBLIC | {"browser_mount": "prefix", "proxy_host": "app.gate.example"},
            ["BROWSER_MOUNT=prefix", "is a subdomain"],
        ),
        ({"browser_mount": "prefix"}, ["BROWSER_MOUNT=prefix"]),
        (
            {"backend_url": "http://gate.example", "browser_mount": "prefix"},
            ["BROWSER_MOUNT=prefix", "account and administration pages are refused"],
        ),
    ],
)
def test_risks_of_the_mount_are_reported(settings: dict[str, Any], expected: list[str]) -> None:
    found = notes(load(**settings))
    assert len(found) == len(expected)
    for note, part in zip(found, expected, strict=True):
        assert part in note
