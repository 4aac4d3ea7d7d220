"""The description of the API is valid, complete, and shown without anything from elsewhere."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.kit.gates import GateClient
from zenzefi.api.routing import OPERATIONS
from zenzefi.settings import DURATIONS


async def test_the_description_is_valid_openapi_3_1(gate: GateClient) -> None:
    response = await gate.get("/openapi.json")
    description = await response.json()
    assert description["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(description).validate()


async def test_every_call_under_the_api_is_described(gate: GateClient) -> None:
    paths = (await (await gate.get("/openapi.json")).json())["paths"]
    known = {resource.canonical for resource in gate.app.router.resources()}
    routed = {
        (route.method, route.resource.canonical)
        for route in gate.app.router.routes()
        if route.resource is not None
        and f"{route.resource.canonical}/" not in known  # it only leads there
        and route.resource.canonical.startswith("/api/v1/")
        and "/proxy/{" not in route.resource.canonical
        and route.resource.canonical != "/api/v1/proxy"
        and "/.zenzefi/" not in route.resource.canonical
        and "/.well-known/" not in route.resource.canonical  # a form of an error page
        and route.method not in ("HEAD", "*")
    }
    described = {(method.upper(), path) for path, entry in paths.items() for method in entry}
    assert routed == described


async def test_operation_ids_are_unique(gate: GateClient) -> None:
    paths = (await (await gate.get("/openapi.json")).json())["paths"]
    ids = [entry["operationId"] for path in paths.values() for entry in path.values()]
    assert len(ids) == len(set(ids)) >= len(gate.app[OPERATIONS])


async def test_a_protected_call_says_how_to_sign_in_and_what_it_refuses(gate: GateClient) -> None:
    paths = (await (await gate.get("/openapi.json")).json())["paths"]
    purchase = paths["/api/v1/tokens/purchase"]["post"]
    assert purchase["security"] == [{"bearer": []}]
    assert {"201", "400", "401", "402", "403", "409", "413", "422"} <= set(purchase["responses"])
    names = {parameter["name"] for parameter in purchase["parameters"]}
    assert "Idempotency-Key" in names


def properties(where: str, schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema and of the schemas inside it, with its location."""
    if isinstance(schema, list):
        for part in schema:
            yield from properties(where, part)
    elif isinstance(schema, dict):
        for field, inner in schema.get("properties", {}).items():
            yield f"{where}.{field}", inner
            yield from properties(f"{where}.{field}", inner)
        for word in ("items", "anyOf", "allOf", "oneOf", "additionalProperties"):
            yield from properties(where, schema.get(word))


def described_values(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a model and every parameter of a call, with its location."""
    for name, model in description["components"]["schemas"].items():
        yield from properties(name, model)
    for path, calls in description["paths"].items():
        for method, call in calls.items():
            for parameter in call.get("parameters", ()):
                yield f"{method} {path} {parameter['name']}", parameter


async def test_every_model_has_a_description(gate: GateClient) -> None:
    models = (await (await gate.get("/openapi.json")).json())["components"]["schemas"]
    assert [name for name, model in models.items() if not model.get("description")] == []


async def test_every_property_and_parameter_says_what_it_means(gate: GateClient) -> None:
    description = await (await gate.get("/openapi.json")).json()
    values = list(described_values(description))
    assert len(values) > 250
    assert [where for where, schema in values if not schema.get("description")] == []


async def test_bounds_and_choices_are_written_as_json_schema_has_them(gate: GateClient) -> None:
    description = await (await gate.get("/openapi.json")).json()
    for where, schema in described_values(description):
        assert not {"ge", "gt", "le", "lt"} & schema.keys(), where
    models = description["components"]["schemas"]
    assert models["Purchase"]["properties"]["duration_hours"]["examples"] == list(DURATIONS)
    assert models["NewBundle"]["properties"]["token_count"]["maximum"] == 100


async def test_every_call_says_that_it_may_be_limited_or_unavailable(gate: GateClient) -> None:
    description = await (await gate.get("/openapi.json")).json()
    for path, calls in description["paths"].items():
        for method, call in calls.items():
            assert {"429", "503"} <= set(call["responses"]), f"{method} {path}"


async def test_models_of_one_name_do_not_hide_each_other(gate: GateClient) -> None:
    models = (await (await gate.get("/openapi.json")).json())["components"]["schemas"]
    assert "pending" in models["PaymentStatus"]["enum"]
    assert "connected" in models["TokenStatus"]["properties"]


async def test_the_viewers_load_only_from_here_and_hold_no_code(gate: GateClient) -> None:
    for path in ("/docs", "/redoc"):
        response = await gate.get(path)
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert not re.search(r"<script(?![^>]*\ssrc=)", page)
        sources = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert all(source.startswith("/") for source in sources)
        for source in sources:
            asset = await gate.get(source)
            assert asset.status == 200, source
            again = await gate.get(source, headers={"If-None-Match": asset.headers.get("ETag", "")})
            assert again.status == (304 if "ETag" in asset.headers else 200)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("br, gzip;q=0.5", "gzip"), ("gzip;q=0", None), ("", None)],
)
async def test_a_file_of_the_viewers_has_a_coding_that_the_client_accepts(
    gate: GateClient, accepted: str, coding: str | None
) -> None:
    async with gate.get("/docs/swagger-ui.css", headers={"Accept-Encoding": accepted}) as response:
        assert (response.status, response.headers.get("Content-Encoding")) == (200, coding)


async def test_an_unknown_file_of_the_viewers_is_not_found(gate: GateClient) -> None:
    assert (await gate.get("/docs/../secret")).status in (400, 404)
    assert (await gate.get("/docs/nothing.js")).status == 404


async def test_no_default_of_the_description_names_a_secret(gate: GateClient) -> None:
    text = json.dumps(await (await gate.get("/openapi.json")).json()).lower()
    assert "secret_key" not in text
