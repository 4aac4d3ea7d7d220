"""Unexpected errors while a request waits: it gets a response, and nothing stays held."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.faulty_upstream import OK_HEAD, FaultyUpstream
from tests.kit.proxy_gates import PREFIX, GateFactory
from tests.kit.raw_connections import forwarding_of
from tests.kit.waiting import until


@pytest.mark.every_loop
async def test_an_activation_that_raises_ends_with_an_error_response(
    start_gate: GateFactory, faulty: FaultyUpstream, monkeypatch: Any
) -> None:
    faulty.keep_responding(OK_HEAD + b"Content-Length: 5\r\n\r\nfirst")
    gate = await start_gate(faulty.url)
    gate.tokens.add(activated=False)

    async def activate(access: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(gate.tokens, "activate", activate)
    got = await gate.request(PREFIX + "/x", timeout=5)
    assert got.startswith(b"HTTP/1.1 500"), got


@pytest.mark.every_loop
@pytest.mark.parametrize("activated", [True, False])
async def test_a_response_whose_mapping_raises_becomes_an_error_response(
    start_gate: GateFactory, faulty: FaultyUpstream, monkeypatch: Any, activated: bool
) -> None:
    faulty.keep_responding(OK_HEAD + b"Content-Type: text/html\r\nContent-Length: 5\r\n\r\nfirst")
    gate = await start_gate(faulty.url)
    gate.tokens.add(activated=activated)

    def head(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(forwarding_of(gate).http, "head", head)
    got = await gate.request(PREFIX + "/x", timeout=5)
    assert got.startswith(b"HTTP/1.1 500"), got
    await until(lambda: not forwarding_of(gate).upstream.budget.short)
