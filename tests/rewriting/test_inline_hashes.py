"""Inline styles and scripts that a policy allows by their hash still apply when they are edited."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from tests.kit.engine import exchange
from tests.kit.mounts import MOUNTS, UPSTREAMS
from zenzefi.origin import Mount
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry
from zenzefi.rewriting.urls import UrlMapper

ENGINE = Engine(Registry([bundled("plugins")], entry_points=False))
UPSTREAM = UPSTREAMS[0]
SCRIPT = f"go('{UPSTREAM}/a')"
STYLE = f"a {{ background: url({UPSTREAM}/a) }}"
SIZES = (1, 7, 65536)


def source_of(text: str, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, text.encode()).digest()
    return f"'{algorithm}-{base64.b64encode(digest).decode()}'"


def sent(mount: Mount, policies: list[str], body: str, size: int = 65536) -> tuple[list[str], str]:
    """The policies and the page that the browser gets."""
    length = str(len(body.encode()))  # so that the result may be stored
    headers = CIMultiDict([("Content-Type", "text/html"), ("Content-Length", length)])
    for policy in policies:
        headers.add("Content-Security-Policy", policy)
    exchanged = exchange(
        {},
        mount=mount,
        mapper=UrlMapper(UPSTREAM, mount),
        destination="document",
        response_headers=CIMultiDictProxy(headers),
    )
    rewrite = ENGINE.plan(exchanged)
    assert rewrite is not None
    data = body.encode()
    parts = [rewrite.feed(data[at : at + size]) for at in range(0, len(data), size)]
    out = (b"".join(parts) + rewrite.finish()).decode()
    kept = CIMultiDict(rewrite.headers).getall("Content-Security-Policy", [])
    return kept, re.sub(r"<script src=[^>]*runtime\.js[^>]*></script>", "", out)


def nonces(policy: str, directive: str) -> set[str]:
    found = next((part for part in policy.split(";") if part.split()[:1] == [directive]), "")
    return set(re.findall(r"'nonce-([^']+)'", found))


def nonce_of(element: str, page: str) -> str | None:
    tag = re.search(rf"<{element}[^>]*>", page)
    assert tag is not None
    found = re.search(r'nonce="([^"]*)"', tag[0])
    return found[1] if found else None


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize(
    ("element", "text", "directive"),
    [
        ("script", SCRIPT, "script-src"),
        ("script", SCRIPT, "script-src-elem"),
        ("script", SCRIPT, "default-src"),
        ("style", STYLE, "style-src"),
        ("style", STYLE, "style-src-elem"),
        ("style", STYLE, "default-src"),
    ],
)
def test_an_edited_element_is_allowed_as_its_source_was(
    element: str, text: str, directive: str, algorithm: str, mount: Mount
) -> None:
    policy = f"object-src 'none'; {directive} 'self' {source_of(text, algorithm)}"
    page = f"<!doctype html><{element} id=x>{text}</{element}><p>"
    for size in SIZES:
        (kept,), out = sent(mount, [policy], page, size)
        assert f"{mount.root}a" in out
        assert nonce_of(element, out) in nonces(kept, directive)
        assert source_of(text, algorithm) in kept


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_other_elements_get_no_permission(mount: Mount) -> None:
    policy = f"script-src {source_of(SCRIPT)}; style-src {source_of(STYLE)} 'self'"
    for body in (
        f"<script>{SCRIPT} // changed by someone</script>",
        f"<style>{STYLE} </style>",
        "<script>go('/a')</script>",
    ):
        _, out = sent(mount, [policy], f"<!doctype html>{body}")
        assert nonce_of("style" if "<style" in body else "script", out) is None
    (kept,), out = sent(mount, ["script-src 'self'; style-src 'self'"], f"<style>{STYLE}</style>")
    assert nonce_of("style", out) is None
    assert not nonces(kept, "style-src")


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_an_unedited_element_keeps_its_hash_and_bytes(mount: Mount) -> None:
    text = "go('https://x.example/a')"
    page = f"<!doctype html><script>{text}</script><p><a href='{UPSTREAM}/'></a>"
    _, out = sent(mount, [f"script-src {source_of(text)}"], page)
    assert f"<script>{text}</script>" in out


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_every_policy_with_hashes_must_allow_the_element(mount: Mount) -> None:
    page = f"<!doctype html><style>{STYLE}</style>"
    both = [f"style-src {source_of(STYLE)}", f"style-src {source_of(STYLE)}, img-src *"]
    kept, out = sent(mount, both, page)
    nonce = nonce_of("style", out)
    assert all(nonce in nonces(policy.partition(",")[0], "style-src") for policy in kept)
    one = [f"style-src {source_of(STYLE)}", f"style-src {source_of('other')}"]
    _, out = sent(mount, one, page)
    assert nonce_of("style", out) is None


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_line_breaks_are_hashed_as_browsers_read_them(mount: Mount) -> None:
    text = STYLE + "\nb {}\n"
    page = f"<!doctype html><style>{text}</style>".replace("\n", "\r\n")
    _, out = sent(mount, [f"style-src {source_of(text)}"], page)
    assert nonce_of("style", out)


def page_with(policy: str, rest: str) -> str:
    return f'<!doctype html><meta http-equiv=Content-Security-Policy content="{policy}">{rest}'


def policy_in(page: str) -> str:
    found = re.search(r'content="([^"]*)"', page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
@pytest.mark.parametrize(
    ("element", "text", "directive"),
    [("script", SCRIPT, "script-src"), ("style", STYLE, "default-src")],
)
def test_a_policy_in_the_page_allows_the_edited_elements_behind_it(
    element: str, text: str, directive: str, mount: Mount
) -> None:
    policy = f"img-src *; {directive} 'self' {source_of(text)}"
    for size in SIZES:
        rest = f"<{element}>{text}</{element}><{element}>{text} </{element}>"
        _, out = sent(mount, [], page_with(policy, rest), size)
        assert nonce_of(element, out) in nonces(policy_in(out), directive)
        assert out.count(" nonce=") == 1  # the second one was not allowed
        assert source_of(text) in policy_in(out)


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_the_policies_of_the_page_and_of_its_headers_must_both_allow_it(mount: Mount) -> None:
    allowed, refused = source_of(STYLE), source_of("other")
    body = page_with(f"style-src {allowed}", f"<style>{STYLE}</style>")
    (kept,), out = sent(mount, [f"style-src {allowed}"], body)
    assert nonce_of("style", out) in nonces(kept, "style-src") & nonces(policy_in(out), "style-src")
    _, out = sent(mount, [f"style-src {refused}"], body)
    assert nonce_of("style", out) is None


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_no_two_responses_have_the_same_nonce(mount: Mount) -> None:
    """A stored result would repeat it, and an author of one page could use it in another."""
    body = page_with(f"style-src {source_of(STYLE)}", f"<style>{STYLE}</style>")
    found = {nonce_of("style", sent(mount, [], body)[1]) for _ in range(3)}
    assert len(found) == 3


@pytest.mark.parametrize("mount", MOUNTS, ids=str)
def test_a_policy_without_hashes_stays(mount: Mount) -> None:
    body = page_with("style-src 'self'", f"<style>{STYLE}</style>")
    _, out = sent(mount, [], body)
    assert policy_in(out) == "style-src 'self'"
    assert nonce_of("style", out) is None
