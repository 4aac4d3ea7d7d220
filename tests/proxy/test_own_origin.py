"""The separate origin: how it is derived from the settings, and where the cookie authenticates."""

import pytest
from multidict import CIMultiDict

from tests.kit.proxy_gates import PREFIX
from zenzefi.origin import MountKind, Origin
from zenzefi.proxy.mount import Mounts, parse_forwarded
from zenzefi.settings.own_origin import BrowserMount, is_loopback, own_origin

# --- the rule and the derivation, pure

HOSTS = ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "gate.localhost", "app.localhost"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_own_origin_needs_no_setting_on_loopback(scheme: str, host: str) -> None:
    public = Origin(scheme, host, 8000)
    found = own_origin(
        public, proxy_host=None, proxy_port=None, browser_mount=BrowserMount.OWN_ORIGIN
    )
    assert found is not None
    assert (found.scheme, found.port) == (scheme, 8000)
    assert is_loopback(found.host)
    assert found.host != host
    assert (
        own_origin(public, proxy_host=None, proxy_port=None, browser_mount=BrowserMount.PREFIX)
        is None
    )


@pytest.mark.parametrize(
    "host", ["gate.example", "localhost.example", "127.0.0.1.example", "192.168.0.1", "[::2]"]
)
def test_the_own_origin_must_be_set_outside_loopback(host: str) -> None:
    public = Origin("https", host, 443)

    def found(proxy_host: str | None = None, proxy_port: int | None = None) -> Origin | None:
        return own_origin(
            public,
            proxy_host=proxy_host,
            proxy_port=proxy_port,
            browser_mount=BrowserMount.OWN_ORIGIN,
        )

    assert not is_loopback(host)
    assert found() is None
    assert found(proxy_port=8443) == Origin("https", host, 8443)
    assert found(proxy_port=443) is None
    assert found(proxy_host="app.example") == Origin("https", "app.example", 443)
    assert found(proxy_host="[::1]:81") == Origin("https", "[::1]", 81)


@pytest.mark.parametrize("at_prefix", [False, True])
@pytest.mark.parametrize(
    ("forwarded", "is_allowed"),
    [
        ({}, False),
        ({"X-Forwarded-Host": "front.example"}, False),
        ({"X-Forwarded-Prefix": PREFIX, "X-Forwarded-Host": "front.example"}, False),
        ({"X-Forwarded-Prefix": "/app"}, False),
        ({"X-Forwarded-Prefix": "/app", "X-Forwarded-Host": "gate.example"}, False),
        ({"X-Forwarded-Prefix": "/app", "X-Forwarded-Host": "front.example"}, True),
        ({"X-Forwarded-Prefix": "/", "X-Forwarded-Host": "front.example"}, True),
        ({"X-Forwarded-Prefix": "/", "X-Forwarded-Host": "app.example"}, True),
        ({"X-Forwarded-Host": "app.example"}, True),
    ],
)
def test_the_cookie_is_good_wherever_the_gates_own_pages_are_not(
    forwarded: dict[str, str], is_allowed: bool, at_prefix: bool
) -> None:
    mounts = Mounts(
        Origin("https", "gate.example", 443), "app.example", browsers_at_prefix=at_prefix
    )
    parsed = parse_forwarded(CIMultiDict(forwarded))
    mount = mounts.decide("gate.example", forwarded=parsed, is_device=False)
    assert mounts.may_use_cookie(mount) == (is_allowed or at_prefix)


def test_a_device_is_not_authenticated_by_a_cookie() -> None:
    mounts = Mounts(Origin("https", "gate.example", 443), "app.example")
    mount = mounts.decide("gate.example", forwarded=None, is_device=True)
    assert mount.kind is MountKind.CLIENT
    assert not mounts.may_use_cookie(mount)
