"""The access log names user and token of a request, by option only."""

import asyncio
import io
import json
from typing import Any

import pytest

from tests.kit import api
from tests.kit.gates import GateClient, MakeGate
from tests.kit.visitors import Visitor
from zenzefi.http.observation import OBSERVER

PATHS = ("/api/v1/users/me", "/api/v1/proxy/page", "/api/v1/proxy/status", "/account", "/livez")


async def lines(gate: GateClient) -> list[dict[str, Any]]:
    """The lines of the requests so far."""
    log = gate.app[OBSERVER].access_log
    assert log is not None
    log._out = out = io.StringIO()
    await asyncio.to_thread(log._write)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("fast", [True, False])
async def test_lines_have_the_ids_of_user_and_token(make_gate: MakeGate, fast: bool) -> None:
    gate = await make_gate(access_log_ids=True, log_format="json", fast_lane=fast)
    log = gate.app[OBSERVER].access_log
    assert log is not None
    log.close()  # the test writes the lines
    bearer = await api.sign_up(gate)
    _, me = await api.call(gate, "GET", "/users/me", bearer=bearer)
    token = await api.buy(gate, bearer)
    headers = {"X-Access-Token": str(token["token"])}
    for _ in range(3):  # repeated requests have no task
        await (await gate.get("/api/v1/proxy/page", headers=headers)).read()
    await (await gate.get("/api/v1/proxy/status", headers=headers)).read()
    await gate.get("/livez")
    visitor = await Visitor(gate).register()
    await visitor.open("/account")
    written = await lines(gate)
    found = {path: [line for line in written if line["path"] == path] for path in PATHS}
    for line in found["/api/v1/proxy/page"] + found["/api/v1/proxy/status"]:
        assert (line["user_id"], line["token_id"]) == (me["id"], token["id"])
    assert len(found["/api/v1/proxy/page"]) == 3
    for line in found["/api/v1/users/me"]:
        assert line["user_id"] == me["id"]
        assert "token_id" not in line
    assert found["/account"][-1]["user_id"] not in ("", me["id"])
    assert not {"user_id", "token_id", "subject"} & found["/livez"][0].keys()


async def test_without_the_option_no_line_has_them(make_gate: MakeGate) -> None:
    gate = await make_gate(log_format="json")
    log = gate.app[OBSERVER].access_log
    assert log is not None
    log.close()
    bearer = await api.sign_up(gate)
    await api.call(gate, "GET", "/users/me", bearer=bearer)
    found = await lines(gate)
    assert found
    assert not any({"user_id", "token_id", "subject"} & line.keys() for line in found)
