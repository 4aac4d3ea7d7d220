"""Two clients of one plugin: no body, validator or state made for one of them reaches the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from multidict import CIMultiDict

from tests.kit.engine import exchange, rewrite_body
from zenzefi.plugins import Exchange, Needs, Plugin, TextEdit
from zenzefi.plugins_testing import CLIENT
from zenzefi.rewriting.engine import Engine, ExchangeHead
from zenzefi.rewriting.plugins.client import ClientFacts
from zenzefi.rewriting.plugins.heads import ExchangeMemory
from zenzefi.rewriting.plugins.registry import Registry

BODY = b"a{}" * 20
LATER = timedelta(hours=1)
assert CLIENT.activated_at is not None
assert CLIENT.expires_at is not None
OTHERS: dict[str, Any] = {
    "user_id": "00000000-0000-4000-8000-00000000000a",
    "token_id": "00000000-0000-4000-8000-00000000000b",
    "scope": "staff",
    "device": "tablet",
    "activated_at": CLIENT.activated_at + LATER,
    "expires_at": CLIENT.expires_at + LATER,
    "address": "192.0.2.99",
}


def writes(read: Callable[[Exchange], object]) -> type[Plugin]:
    """A plugin that writes into each body the facts that it reads."""

    class Writes(Plugin):
        name = "writes"
        needs = Needs.TEXT

        def text(self, exchange: Exchange, text: str) -> list[TextEdit]:
            return [TextEdit(0, 0, f"/* {read(exchange)} */")]

    return Writes


def engine_for(plugin: type[Plugin]) -> Engine:
    return Engine(Registry(entry_points=False, classes=[plugin]))


def asked_by(client: ClientFacts, **headers: str) -> ExchangeHead:
    """A request for a style sheet that every cache may store."""
    received = {"Content-Type": "text/css", "ETag": '"v1"', "Content-Length": str(len(BODY))}
    memory = ExchangeMemory("0123456789abcdef")
    return exchange(received, headers, client=client, memory=memory, user=client.user_id)


def tag_of(engine: Engine, head: ExchangeHead) -> str:
    rewrite = engine.plan(head)
    assert rewrite is not None
    return dict(rewrite.headers)["ETag"]


@pytest.mark.parametrize("fact", OTHERS)
def test_a_body_that_depends_on_a_fact_reaches_no_client_with_another(fact: str) -> None:
    engine = engine_for(writes(lambda exchange: getattr(exchange.client, fact)))
    other = replace(CLIENT, **{fact: OTHERS[fact]})
    for client in (CLIENT, other) * 3:
        said = f"/* {getattr(client, fact)} */".encode()
        assert rewrite_body(engine, asked_by(client), BODY) == said + BODY
    assert engine.cache.hits >= 2  # so the results of both were kept
    # The validator of one is none for the other: a 304 would make the other's body current.
    mine, theirs = (tag_of(engine, asked_by(client)) for client in (CLIENT, other))
    assert mine != theirs
    for client, sent in ((CLIENT, '"v1"'), (other, None)):
        headers = CIMultiDict({"If-None-Match": mine})
        engine.prepare_request(asked_by(client, **{"If-None-Match": mine}), headers)
        assert headers.get("If-None-Match", "").strip('"') == (sent or "").strip('"')


def test_a_fact_that_only_some_bodies_read_counts_for_them() -> None:
    """The facts that a plugin reads depend on those that it has read before."""

    def read(exchange: Exchange) -> object:
        client = exchange.client
        if client.scope == "staff":
            return client.device
        return client.user_id if exchange.request_headers.get("X-Full") else "anybody"

    facts = {name: (getattr(CLIENT, name), OTHERS[name]) for name in ("scope", "device", "user_id")}
    clients = [
        replace(CLIENT, **dict(zip(facts, values, strict=True)))
        for values in product(*facts.values())
    ]
    plugin = writes(read)
    shared = engine_for(plugin)
    for client, full in [*product(clients, ("", "1"))] * 2:
        expected = rewrite_body(engine_for(plugin), asked_by(client, **{"X-Full": full}), BODY)
        assert rewrite_body(shared, asked_by(client, **{"X-Full": full}), BODY) == expected
    assert shared.cache.hits > 0


def test_a_body_that_reads_the_state_of_its_request_is_its_own() -> None:
    class Carries(Plugin):
        name = "carries"
        needs = Needs.TEXT

        def request_headers(self, context: Exchange, headers: CIMultiDict[str]) -> None:
            context.state["who"] = context.client.token_id

        def text(self, exchange: Exchange, text: str) -> list[TextEdit]:
            return [TextEdit(0, 0, f"/* {exchange.state['who']} */")]

    engine = engine_for(Carries)
    other = replace(CLIENT, token_id=OTHERS["token_id"])
    for client in (CLIENT, other) * 3:
        head = asked_by(client)
        engine.prepare_request(head, CIMultiDict())
        assert rewrite_body(engine, head, BODY) == f"/* {client.token_id} */".encode() + BODY
    assert engine.cache.hits == 0


def test_a_state_without_a_request_before_it_is_empty_each_time() -> None:
    def read(exchange: Exchange) -> object:
        exchange.state["n"] = exchange.state.get("n", 0) + 1
        return exchange.state["n"]

    engine = engine_for(writes(read))
    for client in (CLIENT, CLIENT, replace(CLIENT, user_id=OTHERS["user_id"])):
        assert rewrite_body(engine, asked_by(client), BODY) == b"/* 1 */" + BODY


def test_the_first_body_of_a_plugin_belongs_to_its_client_too() -> None:
    """Its head leaves before the plugin has read anything."""
    engine = engine_for(writes(lambda exchange: exchange.client and exchange.client.user_id))
    seen = []
    for _ in range(2):
        rewrite = engine.plan(asked_by(CLIENT))
        assert rewrite is not None
        seen.append(set(CIMultiDict(rewrite.headers)["Vary"].split(", ")))
        rewrite.feed(BODY)
        rewrite.finish()
    assert {"Cookie", "X-Access-Token"} <= seen[0]
    assert {"Cookie", "X-Access-Token"} <= seen[1]
