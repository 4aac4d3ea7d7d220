"""The pure half of the run-time script: its tag, its import map, policies and workers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zenzefi.origin import Mount, MountKind, Origin
from zenzefi.rewriting.csp import permit
from zenzefi.rewriting.runtime import (
    is_worker,
    runtime_headers,
    runtime_source,
    runtime_tag,
    runtime_version,
    worker_prelude,
)
from zenzefi.rewriting.runtime.marks import half_siphash, marks

GATE = Origin("https", "gate.example", 443)
ALIAS = Origin("https", "alias.example", 443)
UP = Origin("http", "up.example", 8000)
PREFIX = Mount(MountKind.PREFIX, GATE, "/api/v1/proxy")
ROOT = Mount(MountKind.ORIGIN, GATE)


def test_the_tag_names_the_script_below_the_mount_and_the_upstream() -> None:
    tag = runtime_tag(PREFIX, [UP, ALIAS], nonce="a+b/c=")
    assert (
        tag
        == (
            f'<script src="/api/v1/proxy/.zenzefi/runtime.js?v={runtime_version()}" '
            f'data-upstream="{marks(frozenset([UP, ALIAS]))}" '
            'nonce="a+b/c="></script>'
        ).encode()
    )


# Of the authors' own implementation: key 00 to 07, the data 00, 00 01, 00 01 02 and so on.
VECTORS = ("a9359f5b", "27475ab8", "fa62a603", "8afee704", "2a6e4689")


@pytest.mark.parametrize("length", range(len(VECTORS)))
def test_the_hash_is_half_siphash(length: int) -> None:
    found = half_siphash(bytes(range(length)), bytes(range(8)))
    assert found.to_bytes(4, "little").hex() == VECTORS[length]


def test_a_mark_hides_an_address_among_thousands() -> None:
    wanted = marks(frozenset([Origin("http", "10.1.2.3", 8000)]), "0123456789abcdef")
    assert re.fullmatch(r"0123456789abcdef [0-9a-f]{5}", wanted)
    plausible = 2**24 * 30  # the addresses of 10.0.0.0/8, with the ports that people use
    assert plausible / 16**5 > 400


@given(st.sets(st.sampled_from(["a.example", "b.example", "10.0.0.1", "[::1]"]), min_size=1))
def test_neither_a_tag_nor_a_worker_names_an_origin(hosts: set[str]) -> None:
    origins = [Origin("http", host, 8080) for host in hosts]
    for text in (
        runtime_tag(PREFIX, origins, key="0123456789abcdef"),
        worker_prelude(PREFIX, origins, query="", source=b"", key="0123456789abcdef"),
    ):
        assert b"0123456789abcdef" in text
        assert not any(host.encode() in text for host in hosts)


def test_the_tag_escapes_what_it_is_given() -> None:
    assert b'nonce="&quot;&gt;&lt;b&gt;"' in runtime_tag(PREFIX, [UP], nonce='"><b>')


def test_the_script_is_at_the_root_of_a_root_mount_whose_workers_get_none() -> None:
    assert b' src="/.zenzefi/runtime.js?v=' in runtime_tag(ROOT, [UP])
    assert worker_prelude(ROOT, [UP], query="", source=b"") == b""


def test_the_address_bar_may_show_the_upstreams_own_path() -> None:
    assert b' data-address="upstream"' in runtime_tag(PREFIX, [UP], address="upstream")
    assert b"data-address" not in runtime_tag(PREFIX, [UP])


def test_the_script_may_be_kept_for_ever_only_under_its_own_version() -> None:
    assert ("Cache-Control", "no-cache") in runtime_headers(None)
    assert ("Cache-Control", "no-cache") in runtime_headers("old")
    assert "immutable" in dict(runtime_headers(runtime_version()))["Cache-Control"]


def test_the_script_is_one_plain_file_without_a_build_step() -> None:
    text = runtime_source().decode()
    assert "'use strict'" in text
    assert max(map(len, text.splitlines())) < 260


def test_a_classic_worker_loads_the_script_on_its_first_line() -> None:
    prelude = worker_prelude(PREFIX, [UP], query="a=1", source=b"postMessage(1)")
    assert prelude == (
        b'try{importScripts("/api/v1/proxy/.zenzefi/runtime.js'
        b"?v="
        + runtime_version().encode()
        + b"&upstream=0000000000000000+"
        + marks(frozenset([UP]))[17:].encode()
        + b'")}catch{};'
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
    assert worker_prelude(PREFIX, [UP], query="", source=source).startswith(b'"use strict";')


def test_a_sloppy_worker_stays_sloppy() -> None:
    for source in (b"x; 'use strict'", b"/* 'use strict' */ x", b"'not strict'"):
        assert b"use strict" not in worker_prelude(PREFIX, [UP], query="", source=source)


@pytest.mark.parametrize(
    ("query", "is_module"),
    [
        (".zenzefi-worker=module", True),
        ("a=1&.zenzefi-worker=module", True),
        (".zenzefi-worker=classic", False),
        ("a=%2f&b", False),
        ("x.zenzefi-worker=module", False),
        (".zenzefi-worker=module&a", False),
    ],
)
def test_a_module_worker_is_known_by_its_mark(query: str, is_module: bool) -> None:
    prelude = worker_prelude(PREFIX, [UP], query=query, source=b"")
    assert prelude.startswith(b"import ") == is_module


def test_a_worker_is_known_by_its_destination_or_its_mark() -> None:
    assert is_worker("serviceworker", "")
    assert is_worker(None, "a&.zenzefi-worker=classic")
    assert not is_worker(None, "a=worker")
    assert not is_worker("script", "")


@pytest.mark.parametrize(
    ("policy", "permitted"),
    [
        (
            "require-trusted-types-for 'script'; trusted-types page",
            "require-trusted-types-for 'script'; trusted-types page zenzefi",
        ),
        ("trusted-types 'none'", "trusted-types zenzefi"),
        ("trusted-types", "trusted-types zenzefi"),
        ("trusted-types *", "trusted-types *"),
        ("trusted-types zenzefi 'allow-duplicates'", "trusted-types zenzefi 'allow-duplicates'"),
    ],
)
def test_a_list_of_trusted_types_admits_the_runtimes_own(policy: str, permitted: str) -> None:
    assert permit([policy], GATE, "fresh").values == (permitted,)
