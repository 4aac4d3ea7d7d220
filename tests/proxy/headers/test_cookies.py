import json
import re
import sys
import types
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.cases import CASES
from zenzefi import gate_cookies
from zenzefi.gate_cookies import is_gate_cookie, values_of
from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.proxy.headers.cookies import map_set_cookie, unmap_cookie

UPSTREAM = Origin("https", "app.example.com", 443)
HTTP = Mount(MountKind.PREFIX, Origin("http", "gate.test", 80), "/api/v1/proxy")
HTTPS = Mount(MountKind.PREFIX, Origin("https", "gate.test", 443), "/api/v1/proxy")
ROOT = Mount(MountKind.ORIGIN, Origin("https", "app.gate.test", 443))
CLIENT = Mount(MountKind.CLIENT, Origin("https", "127.0.0.1", 61000))
MOUNTS = [HTTP, HTTPS, ROOT, CLIENT]


@pytest.mark.parametrize(
    ("value", "mount", "expected"),
    [
        ("a=1", HTTP, "a=1"),
        ("a=1; Path=/", HTTP, "a=1; Path=/api/v1/proxy/"),
        ("a=1; path = /x ;Max-Age=5", HTTP, "a=1; path = /api/v1/proxy/x ;Max-Age=5"),
        ("a=1; Path=x", HTTP, "a=1; Path=x"),
        ("a=1; Path=/", ROOT, "a=1; Path=/"),
        ("a=1; Domain=.example.com; Path=/", HTTPS, "a=1; Path=/api/v1/proxy/"),
        ("a=1; Domain=app.example.com", CLIENT, "a=1"),
        ("a=1; Domain=other.com", HTTPS, None),
        ("a=1; Domain=pp.example.com", HTTPS, None),
        ("a=1; Secure; SameSite=None; Partitioned", HTTP, "a=1"),
        ("a=1; Secure; SameSite=None", HTTPS, "a=1; Secure; SameSite=None"),
        ("a=1; SameSite=Strict", HTTP, "a=1; SameSite=Strict"),
        ("__Host-a=1; Secure; Path=/", ROOT, "__Host-a=1; Secure; Path=/"),
        ("__Host-a=1; Secure; Path=/", HTTPS, "__Host-a=1; Secure; Path=/"),
        ("__Host-a=1; Secure; Path=/", HTTP, "zup-__Host-a=1; Path=/api/v1/proxy/"),
        ("__Host-a=1; Secure; Path=/x", HTTPS, None),
        ("__host-a=1; Path=/", HTTPS, None),
        ("__Secure-a=1; Secure", HTTPS, "__Secure-a=1; Secure"),
        ("__Secure-a=1; Secure", HTTP, "zup-__Secure-a=1"),
        ("__Secure-a=1", HTTPS, None),
        ("zenzefi_access_token=x", HTTPS, "zup-zenzefi_access_token=x"),
        ("__Host-Zenzefi_session=x; Secure; Path=/", HTTPS, "zup-__Host-Zenzefi_session=x"),
        ("zup-a=1", HTTPS, "zup-zup-a=1"),
        ("=zenzefi_access_token=x", HTTPS, None),
        ("zenzefi_access_token", HTTPS, None),
        ("=__Host-a=b", HTTPS, None),
        ("", HTTPS, None),
        (" ; Path=/", HTTPS, None),
        ("a=1\0", HTTPS, None),
        ("just a value", HTTPS, "just a value"),
    ],
)
def test_a_set_cookie_becomes_what_this_browser_may_keep(
    value: str, mount: Mount, expected: str | None
) -> None:
    got = map_set_cookie(value, UPSTREAM, mount)
    if expected is not None and "zup-__Host-Z" in expected:
        assert got is not None
        assert got.startswith(expected)
    else:
        assert got == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=1; b=2", "a=1; b=2"),
        ("a=1; zenzefi_access_token=t; b=2", "a=1; b=2"),
        ("zenzefi_access_token=t", ""),
        ("__Host-zenzefi_session=s; a=1", "a=1"),
        ("ZENZEFI_x=1; a=1", "a=1"),
        ("zup-__Host-a=1; zup-zenzefi_access_token=x", "__Host-a=1; zenzefi_access_token=x"),
        ("zup-zup-a=1", "zup-a=1"),
        ("a=zenzefi", "a=zenzefi"),
        ("a=zup-b", "a=zup-b"),
        ("", ""),
    ],
)
def test_the_upstream_gets_its_own_cookies_back_and_none_of_the_gates(
    value: str, expected: str
) -> None:
    assert unmap_cookie(value) == expected


def test_every_value_of_the_proxy_cookie_is_found_in_order() -> None:
    line = 'zenzefi_access_token=one; a=zenzefi_access_token; zenzefi_access_token="two"'
    assert values_of([line, "b=1"], "zenzefi_access_token") == ["one", "two"]


@given(
    st.sampled_from(["", "__Host-", "__Secure-", "__Http-", "__Host-Http-"]),
    st.sampled_from([cookie.name for cookie in gate_cookies.GATE_COOKIES]),
    st.data(),
    st.sampled_from(MOUNTS),
)
def test_no_spelling_of_a_gate_cookie_passes_either_way(
    prefix: Any, name: str, data: Any, mount: Mount
) -> None:
    whole = prefix + name
    flips = data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole)))
    spelled = "".join(c.swapcase() if flip else c for c, flip in zip(whole, flips, strict=True))
    assert is_gate_cookie(spelled)
    mapped = map_set_cookie(f"{spelled}=x; Path=/; Secure; HttpOnly", UPSTREAM, mount)
    assert mapped is not None
    assert mapped.startswith("zup-")
    assert unmap_cookie(f"a=1; {spelled}=x; b=2") == "a=1; b=2"
    for nameless in (f"={spelled}=x", spelled, f" = {spelled}=x"):
        assert map_set_cookie(f"{nameless}; Path=/; Secure; HttpOnly", UPSTREAM, mount) is None


NAMES = st.text(alphabet="aZ_-zupenfixHostScr!", min_size=1, max_size=20) | st.sampled_from(
    [
        "zenzefi_access_token",
        "__Host-zenzefi_session",
        "__Host-a",
        "__Secure-b",
        "__Host-Http-c",
        "__Http-d",
        "zup-x",
        "zup-",
    ]
)
VALUES = st.text(alphabet="abc=\"' ,\xe9", max_size=10).map(str.strip)


@given(NAMES, VALUES, st.sampled_from(MOUNTS))
def test_what_the_browser_sends_back_is_what_the_upstream_set(
    name: str, value: Any, mount: Mount
) -> None:
    mapped = map_set_cookie(f"{name}={value}; Path=/; Secure; HttpOnly", UPSTREAM, mount)
    assert mapped is not None
    pair = mapped.split(";")[0]
    kept_name = pair.partition("=")[0]
    assert not is_gate_cookie(kept_name)
    if mount.public.scheme == "http":
        assert not re.match(r"(?i)__(host|secure|http)-", kept_name)
        assert "secure" not in mapped.lower().split(";", 1)[1]
    assert unmap_cookie(f"zenzefi_access_token=t; {pair}") == f"{name}={value}".strip()


@given(st.text(alphabet=' ;=,abPathDomSecur/.\t"', max_size=60), st.sampled_from(MOUNTS))
def test_any_set_cookie_is_mapped_without_failing_and_never_leaves_its_mount(
    value: Any, mount: Mount
) -> None:
    mapped = map_set_cookie(value, UPSTREAM, mount)
    if mapped is None:
        return
    assert "domain" not in [
        part.partition("=")[0].strip().lower() for part in mapped.split(";")[1:]
    ]
    for part in mapped.split(";")[1:]:
        key, _, path = part.partition("=")
        if key.strip().lower() == "path" and path.strip().startswith("/"):
            assert path.strip().startswith(mount.prefix + "/")


def _checker() -> types.ModuleType:
    path = CASES / "check.py"
    if not path.is_file():
        pytest.skip(f"NO REWRITING CASES at {CASES}: set ZENZEFI_CASES to check against them")
    spec = spec_from_file_location("rewriting_cases_check", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", ["cookies.json", "headers.json"])
@pytest.mark.parametrize("mount", MOUNTS, ids=["prefix-http", "prefix-https", "root", "client"])
def test_cookies_of_the_public_test_suites_survive(mount: Mount, file: str) -> None:
    check = _checker()
    upstream = "http://127.0.0.1:9000"
    cases = [
        case
        for case in json.loads((CASES / file).read_text(encoding="utf-8"))
        if case["content_type"] == "header/set-cookie"
    ]
    assert cases

    def fetch(_url: Any, sent: Any) -> Any:
        mapped = map_set_cookie(
            sent.data.decode("latin-1"), Origin("http", "127.0.0.1", 9000), mount
        )
        return check.Message((mapped or "").encode("latin-1"), sent.content_type)

    seen = check.Mount(str(mount.public), mount.prefix, upstream)
    results = [result for result in check.score(cases, fetch, seen) if result is not None]
    assert len(results) >= len(cases) * 0.5
    assert [(r.input, r.output, r.complaints) for r in results if r.complaints] == []
