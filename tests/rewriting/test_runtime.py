"""The pure half of the run-time script: its tag, its import map, policies and workers."""

from __future__ import annotations

import json
import re

import pytest

from zenzefi.rewriting.mount import Mount, MountKind, Origin
from zenzefi.rewriting.runtime import (
    RUNTIME_PATH,
    allow_in_policy,
    csp_hashes,
    import_map,
    runtime_headers,
    runtime_integrity,
    runtime_source,
    runtime_tag,
    runtime_version,
    unmark_query,
    worker_prelude,
)

GATE = Origin("https", "gate.example", 443)
UP = Origin("http", "up.example", 8000)
PREFIX = Mount(MountKind.PREFIX, GATE, "/api/v1/proxy")
ROOT = Mount(MountKind.ORIGIN, GATE)
OWN = "https://gate.example/api/v1/proxy" + RUNTIME_PATH
MAP_HASH = csp_hashes([import_map(PREFIX, UP)])[0]


def test_the_tag_names_the_script_below_the_mount_and_the_upstream() -> None:
    tag = runtime_tag(PREFIX, UP, [Origin("https", "alias.example", 443)], nonce="a+b/c=")
    assert (
        tag
        == (
            f'<script src="/api/v1/proxy/.zenzefi/runtime.js?v={runtime_version()}" '
            'data-upstream="http://up.example:8000" data-aliases="https://alias.example" '
            'nonce="a+b/c="></script>'
        ).encode()
    )


def test_the_tag_escapes_what_it_is_given() -> None:
    assert b'nonce="&quot;&gt;&lt;b&gt;"' in runtime_tag(PREFIX, UP, nonce='"><b>')


def test_a_root_mount_gets_nothing() -> None:
    assert runtime_tag(ROOT, UP) == b""
    assert worker_prelude(ROOT, UP, query="", source=b"") == b""
    assert allow_in_policy("script-src 'self'", ROOT, UP) == ("script-src 'self'", None)


def test_the_import_map_is_written_as_the_script_writes_it() -> None:
    text = import_map(PREFIX, UP)
    assert json.loads(text)["imports"]["/"] == "/api/v1/proxy/"
    assert text == (
        '{"imports":{"/":"/api/v1/proxy/","/api/v1/proxy/":"/api/v1/proxy/",'
        '"http://up.example:8000/":"/api/v1/proxy/"}}'
    )


def test_the_script_may_be_kept_for_ever_only_under_its_own_version() -> None:
    assert ("Cache-Control", "no-cache") in runtime_headers(None)
    assert ("Cache-Control", "no-cache") in runtime_headers("old")
    assert "immutable" in dict(runtime_headers(runtime_version()))["Cache-Control"]
    assert re.fullmatch(r"sha256-[A-Za-z0-9+/]{43}=", runtime_integrity())


def test_the_script_is_one_plain_file_without_a_build_step() -> None:
    text = runtime_source().decode()
    assert "'use strict'" in text
    assert max(map(len, text.splitlines())) < 260


@pytest.mark.parametrize(
    ("policy", "changed", "nonce"),
    [
        ("", "", None),
        ("img-src 'self'", "img-src 'self'", None),
        ("script-src 'nonce-abc'", "script-src 'nonce-abc'", "abc"),
        ("SCRIPT-SRC 'self' 'NONCE-aBc'", "SCRIPT-SRC 'self' 'NONCE-aBc'", "aBc"),
        ("script-src 'none'", "script-src 'none'", None),
        ("script-src", "script-src", None),
        ("script-src 'self'", f"script-src 'self' {MAP_HASH}", None),
        ("script-src 'self' 'unsafe-inline'", "script-src 'self' 'unsafe-inline'", None),
        (
            "script-src https://cdn.example; img-src *",
            f"script-src https://cdn.example {OWN} {MAP_HASH}; img-src *",
            None,
        ),
        (
            "default-src 'self'; img-src *",
            f"default-src 'self'; img-src *; script-src 'self' {MAP_HASH}",
            None,
        ),
        (
            "script-src https://a.example; script-src-elem 'self' 'unsafe-inline'",
            "script-src https://a.example; script-src-elem 'self' 'unsafe-inline'",
            None,
        ),
        (
            "script-src 'self' 'unsafe-inline' 'sha256-AAAA'",
            f"script-src 'self' 'unsafe-inline' 'sha256-AAAA' {MAP_HASH}",
            None,
        ),
        (
            "require-trusted-types-for 'script'; trusted-types page",
            "require-trusted-types-for 'script'; trusted-types page zenzefi",
            None,
        ),
        ("trusted-types 'none'", "trusted-types zenzefi", None),
        ("trusted-types *", "trusted-types *", None),
    ],
)
def test_a_policy_is_opened_just_enough(policy: str, changed: str, nonce: str | None) -> None:
    assert allow_in_policy(policy, PREFIX, UP) == (changed, nonce)
    assert allow_in_policy(changed, PREFIX, UP)[1] == nonce


def test_a_policy_of_hashes_alone_lets_the_script_in_by_its_own_hash() -> None:
    policy, nonce = allow_in_policy("script-src 'strict-dynamic' 'sha256-AAAA'", PREFIX, UP)
    assert policy == (
        f"script-src 'strict-dynamic' 'sha256-AAAA' '{runtime_integrity()}' {MAP_HASH}"
    )
    assert nonce is None
    tag = runtime_tag(PREFIX, UP, integrity=True)
    assert f'integrity="{runtime_integrity()}"'.encode() in tag


def test_a_classic_worker_loads_the_script_on_its_first_line() -> None:
    prelude = worker_prelude(PREFIX, UP, query="a=1", source=b"postMessage(1)")
    assert prelude == (
        b'try{importScripts("/api/v1/proxy/.zenzefi/runtime.js'
        b'?upstream=http%3A%2F%2Fup.example%3A8000&aliases=")}catch{};'
    )


@pytest.mark.parametrize(
    "source",
    [
        b"'use strict';x",
        b'"use strict"\nx',
        b"/* a */ // b\n 'use strict'",
        b"\n/*\n*/'use strict'",
    ],
)
def test_a_strict_worker_stays_strict(source: bytes) -> None:
    assert worker_prelude(PREFIX, UP, query="", source=source).startswith(b'"use strict";')


def test_a_sloppy_worker_stays_sloppy() -> None:
    for source in (b"x; 'use strict'", b"/* 'use strict' */ x", b"'not strict'"):
        assert b"use strict" not in worker_prelude(PREFIX, UP, query="", source=source)


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        (".zenzefi-worker=module", ""),
        ("a=1&.zenzefi-worker=module", "a=1"),
        ("a=%2f&b", "a=%2f&b"),
    ],
)
def test_a_module_worker_is_known_by_its_mark(marked: str, plain: str) -> None:
    assert unmark_query(marked) == plain
    prelude = worker_prelude(PREFIX, UP, query=marked, source=b"")
    assert prelude.startswith(b"import ") == (marked != plain)
