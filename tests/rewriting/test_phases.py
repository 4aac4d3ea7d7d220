"""Phases: addresses that plugins put in are mapped, and edits of several plugins compose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.engine import exchange, rewrite_body
from zenzefi.plugins import Edit, Exchange, Match, Needs, Plugin, Token
from zenzefi.resources import bundled
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import PluginError, Registry

PAGE = b'<body class="a" id=x><a href="/own">own</a></body>'
HTML = Match(content_types=("text/html",))


def plugin(name: str, **members: Any) -> type[Plugin]:
    return type(name, (Plugin,), {"name": name, "matches": HTML, "needs": Needs.TOKENS, **members})


def adds_link(_self: object, _exchange: Exchange, token: Token) -> Edit:
    return token.after(b'<a href="/added">added</a>')


def engine_with(*classes: type[Plugin]) -> Engine:
    return Engine(Registry([bundled("plugins")], entry_points=False, classes=classes))


def rewritten(engine: Engine) -> bytes:
    head = exchange({"Content-Type": "text/html"}, destination="empty")
    sizes = {rewrite_body(engine, head, PAGE, size) for size in (1, 7, 1000)}
    assert len(sizes) == 1
    assert all(entry.statistics.conflicts == 0 for entry in engine.registry.entries)
    return sizes.pop()


@pytest.mark.parametrize("name", ["a-first", "zz-last"])
def test_an_address_that_a_plugin_puts_in_is_mapped_whatever_its_name_is(name: str) -> None:
    out = rewritten(engine_with(plugin(name, tags=("body",), token=adds_link)))
    assert b'<a href="/api/v1/proxy/added">added</a>' in out
    assert b'<a href="/api/v1/proxy/own">' in out


@pytest.mark.parametrize("members", [{"phase": "after"}, {"after": ("html",)}])
def test_after_the_mapping_a_plugin_sees_what_the_browser_gets(members: dict[str, Any]) -> None:
    seen = []

    def sees(_self: object, _exchange: Exchange, token: Token) -> Edit:
        seen.append(token.attributes["href"])
        return token.set("href", "/as-it-is")

    out = rewritten(engine_with(plugin("sees", tags=("a",), token=sees, **members)))
    assert set(seen) == {"/api/v1/proxy/own"}
    assert b'<a href="/as-it-is">' in out


def test_attribute_edits_of_several_plugins_compose() -> None:
    def sets(name: str, value: str) -> Any:
        return lambda _self, _exchange, token: token.set(name, value)

    out = rewritten(
        engine_with(
            plugin("one", tags=("body",), token=sets("data-one", "1")),
            plugin("two", tags=("body",), token=sets("class", "b")),
            plugin("three", tags=("body",), token=lambda _s, _e, token: token.remove("ID")),
            plugin("four", tags=("body",), token=lambda _s, _e, token: token.remove("absent")),
        )
    )
    assert out.startswith(b'<body data-one="1" class="b">')


def test_a_plugin_that_replaces_one_of_the_gate_has_its_phase() -> None:
    engine = engine_with(plugin("html", token=lambda *_: None))
    assert engine.registry["html"].phase == "mapping"
    assert engine.registry["json-rooted"].phase == "mapping"


def test_an_order_against_the_phases_is_refused() -> None:
    wrong = plugin("wrong", token=lambda *_: None, phase="before", after=("html",))
    with pytest.raises(PluginError, match="circle"):
        engine_with(wrong)


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(PluginError, match="it is one of before, mapping, after"):
        engine_with(plugin("wrong", token=lambda *_: None, phase="first"))
