"""The typed client of the API: against a real gate, its OpenAPI description, and bad servers."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, get_args, get_type_hints
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel

from tests.kit.api import give, sign_up
from tests.kit.gate_process import ROOT, environment
from tests.kit.gates import GateClient
from zenzefi.client.api import API_PREFIX, CALLS, ApiClient, ApiError


async def test_a_program_buys_lists_and_revokes(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    await give(gate, "100")
    async with ApiClient(gate.make_url("/"), bearer) as client:
        before = (await client.account()).currency_balance
        assert before == Decimal("100.00")
        token = await client.buy_token(24, name="robot", idempotency_key="k" * 20)
        again = await client.buy_token(24, name="robot", idempotency_key="k" * 20)
        assert again == token
        assert token.token is not None
        state = await client.token_state(token.token)
        assert (state.token_id, state.is_activated) == (token.id, False)
        assert [one.id for one in await client.tokens()] == [token.id]
        assert (await client.revoke_token(token.id)).refund_amount == token.cost_znc
        assert (await client.balance()).balance == before
        assert await client.tokens() == []
        assert [one.id for one in await client.tokens(active_only=False)] == [token.id]
        rows = await client.transactions(limit=2)
        assert len(rows.items) == min(2, rows.total)
        assert (await client.sessions()).items == []
        assert (await client.bundles()).items == []
        with pytest.raises(ApiError) as refused:
            await client.buy_bundle(uuid4())
        assert (refused.value.status, refused.value.code) == (404, "not_found")
        with pytest.raises(ApiError, match="duration_hours: "):
            await client.buy_token(0)
        with pytest.raises(ApiError) as refused:
            await client.release_device(uuid4())
        assert refused.value.status == 404
        with pytest.raises(ApiError) as refused:
            await client.end_session(uuid4())
        assert refused.value.status == 404


async def test_the_example_of_the_guide_runs(gate: GateClient) -> None:
    bearer = await sign_up(gate)
    await give(gate, "100")
    guide = (ROOT / "docs" / "how-to" / "automate.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", guide, re.S)
    # A JWT works where a key does.
    env = environment("/", ZENZEFI_GATE=str(gate.make_url("/")), ZENZEFI_API_KEY=bearer)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example, env=env, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await child.communicate()
    assert child.returncode == 0
    token, cost, balance = printed.decode().split()
    assert len(token) == 64
    assert Decimal(cost) + Decimal(balance) == Decimal("100.00")


async def test_every_call_of_the_client_is_in_the_description(gate: GateClient) -> None:
    async with gate.get("/openapi.json") as response:
        described = await response.json()
    methods = {
        name
        for name, method in inspect.getmembers(ApiClient, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }
    assert methods - {"request"} == set(CALLS)
    for name, call in CALLS.items():
        operation = described["paths"][API_PREFIX + call.path][call.method.lower()]
        parameters = {one["name"]: one["in"] for one in operation.get("parameters", ())}
        for query in call.query:
            assert parameters[query] == "query", (name, query)
        assert call.is_idempotent == ("Idempotency-Key" in parameters), name
        body = operation.get("requestBody")
        fields = {} if body is None else _resolve(_json(body), described)
        assert set(call.body) <= set(fields.get("properties", ())), name
        assert set(fields.get("required", ())) <= set(call.body), name
        if call.returns is not None:
            (good,) = (found for status, found in operation["responses"].items() if status < "3")
            _compare(call.returns, _resolve(_json(good), described), described, name)


def _json(content: dict[str, Any]) -> Any:
    return content["content"]["application/json"]["schema"]


def _resolve(schema: Any, described: Any) -> Any:
    while "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


_KINDS = {
    "UUID": ("string", "uuid"),
    "datetime": ("string", "date-time"),
    "Decimal": ("string", None),
    "str": ("string", None),
    "int": ("integer", None),
    "bool": ("boolean", None),
}


def _compare(model: Any, schema: Any, described: Any, where: str) -> None:
    """Each field that the client reads is always sent, with a type that the client accepts."""
    schema = _resolve(schema, described)
    if getattr(model, "__origin__", None) is list:
        assert schema["type"] == "array", where
        _compare(get_args(model)[0], schema["items"], described, where)
    elif isinstance(model, type) and issubclass(model, BaseModel):
        for field, kind in get_type_hints(model).items():
            if field.startswith(("model_", "__")):
                continue
            at = f"{where}.{field}"
            assert field in schema["required"], at
            _compare(kind, schema["properties"][field], described, at)
    else:
        sent = [_resolve(one, described) for one in schema.get("anyOf", [schema])]
        kinds = [one for one in get_args(model) or (model,) if one is not type(None)]
        assert (len(get_args(model)) == 2) == any(one.get("type") == "null" for one in sent), where
        (kind,) = kinds
        (plain,) = (one for one in sent if one.get("type") != "null")
        type_, format_ = _KINDS[kind.__name__]
        assert plain.get("type") == type_, where
        assert format_ in (None, plain.get("format")), where


@asynccontextmanager
async def server(handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    async with TestServer(app) as running:
        yield str(running.make_url("/"))


async def test_a_purchase_is_repeated_with_its_key_after_a_lost_connection() -> None:
    keys = []

    async def lose_one(request: web.Request) -> web.StreamResponse:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"revoked": True, "refund_amount": "1.00", "new_balance": "2.00"})

    async with server(lose_one) as bad, ApiClient(bad, "znk_x") as client:
        assert (await client.revoke_token(uuid4())).new_balance == Decimal("2.00")
        assert len(set(keys)) == 1
        assert len(keys) == 2


async def test_what_is_not_safe_to_repeat_is_sent_once() -> None:
    calls = []

    async def lose(request: web.Request) -> web.StreamResponse:
        calls.append(request.path)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with server(lose) as bad, ApiClient(bad) as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.release_device(uuid4())
        assert len(calls) == 1


@pytest.mark.parametrize("body", ["<html>", "[1]", '{"balance": "much"}', "[" * 100_000])
async def test_another_server_is_an_error_without_a_code(body: str) -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    async with server(respond) as other, ApiClient(other) as client:
        with pytest.raises(ApiError) as refused:
            await client.balance()
        assert refused.value.code == ""


async def test_the_credential_does_not_follow_a_redirect() -> None:
    seen = []

    async def redirect(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere", "Retry-After": "3"})

    async with server(redirect) as other, ApiClient(other, "znk_x") as client:
        with pytest.raises(ApiError) as refused:
            await client.account()
        assert (refused.value.status, refused.value.retry_after) == (307, 3)
        assert seen == ["/api/v1/users/me"]


async def test_it_is_used_inside_its_context() -> None:
    with pytest.raises(RuntimeError, match="context"):
        await ApiClient("http://127.0.0.1:9").end_session(UUID(int=0))
