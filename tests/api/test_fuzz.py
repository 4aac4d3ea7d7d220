"""Requests generated from the API description: no response is a 5xx."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.kit.gate_process import GateProcess, environment

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))  # for each call; more for a longer hunt


@dataclass
class Described:
    """A running gate, its calls, and credentials of an administrator."""

    url: str
    schema: Any
    headers: dict[str, str]


def _post(url: str, body: dict[str, Any], **headers: str) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    folder = tmp_path_factory.mktemp("fuzz")
    gate = GateProcess(
        str(folder),
        RATE_LIMIT_LOGIN="off",
        RATE_LIMIT_REGISTER="off",
        RATE_LIMIT_API="off",
        DEBUG="true",
        PAYMENT_PROVIDERS="manual,mock",
        LOG_LEVEL="ERROR",
    )
    try:
        url = f"http://127.0.0.1:{gate.port}"
        api = f"{url}/api/v1"
        who = {"email": "fuzz@example.com", "username": "fuzz", "password": "correct horse"}
        _post(f"{api}/auth/register", who)
        subprocess.run(
            [sys.executable, "-m", "zenzefi", "user", "promote", who["email"]],
            env=environment(str(folder)),
            cwd=folder,
            check=True,
            capture_output=True,
        )
        bearer = _post(f"{api}/auth/login", {k: who[k] for k in ("email", "password")})
        headers = {"Authorization": f"Bearer {bearer['access_token']}"}
        purchase = _post(f"{api}/tokens/purchase", {"duration_hours": 1}, **headers)
        headers["X-Access-Token"] = purchase["token"]
        yield Described(url, schemathesis.openapi.from_url(f"{url}/openapi.json"), headers)
    finally:
        gate.stop()


def fuzz(described: Described, operation: Any) -> list[str]:
    """Send many requests to one call; return the responses that are server errors."""
    failures: list[str] = []

    @given(data=st.data())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy())
        # A password it sets would end the very sign-in that the next calls need.
        if "users/me" in operation.path and isinstance(case.body, dict):
            case.body.pop("password", None)
        headers = {**(case.headers or {}), **described.headers}
        response = case.call(base_url=described.url, headers=headers, timeout=30)
        if response.status_code >= 500:
            failures.append(f"{case.as_curl_command()}\n{response.status_code} {response.text}")

    ask()
    return failures


def test_no_request_causes_a_server_error(described: Described) -> None:
    operations = [found.ok() for found in described.schema.get_all_operations()]
    assert len(operations) > 30
    failures = [failure for operation in operations for failure in fuzz(described, operation)]
    assert failures == []
