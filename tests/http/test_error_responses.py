"""The response to an error fits the client and contains no internals."""

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpClient

from tests.kit.gates import GateClient
from zenzefi.accounts.errors import LoginRejected
from zenzefi.billing.errors import InsufficientBalance
from zenzefi.errors import GateError, Invalid, RateLimited
from zenzefi.http import request_id
from zenzefi.http.error_responses import errors_middleware
from zenzefi.http.request_id import request_id_middleware
from zenzefi.tokens.errors import TokenExpired, TooManyUnknownTokens


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> GateClient:
    app = web.Application(middlewares=[request_id_middleware, errors_middleware])
    request_id.setup(app)

    def raising(path: str, error: Exception) -> None:
        async def handler(request: web.Request) -> web.Response:
            raise error

        app.router.add_get(path, handler)

    raising("/balance", InsufficientBalance("Insufficient balance: 3.00 ZNC missing."))
    raising("/expired", TokenExpired())
    raising("/limited", RateLimited(7))
    raising("/fields", Invalid.field("body", "amount", msg="must be above 0", input="-1"))
    raising("/bug", RuntimeError("postgres://user:hunter2@db"))
    raising("/hostile", GateError("<script>alert(1)</script>"))
    return await aiohttp_client(app)


async def test_a_domain_error_has_the_one_shape_and_the_request_id(client: GateClient) -> None:
    response = await client.get("/balance", headers={"X-Request-ID": "trace-0001"})
    assert response.status == 402
    assert await response.json() == {
        "detail": "Insufficient balance: 3.00 ZNC missing.",
        "code": "insufficient_balance",
        "request_id": "trace-0001",
    }
    assert response.headers["X-Request-ID"] == "trace-0001"
    assert response.headers["Cache-Control"] == "no-store"


async def test_every_401_names_the_way_to_authenticate(client: GateClient) -> None:
    """RFC 9110, 15.5.2."""
    response = await client.get("/expired")
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'AccessToken header="X-Access-Token"'
    assert LoginRejected().headers == {"WWW-Authenticate": "Bearer"}
    assert "WWW-Authenticate" not in TooManyUnknownTokens(7).headers


async def test_a_hostile_request_id_is_replaced(client: GateClient) -> None:
    response = await client.get("/balance", headers={"X-Request-ID": '"><script>'})
    assert response.headers["X-Request-ID"] == (await response.json())["request_id"]
    assert "script" not in response.headers["X-Request-ID"]


async def test_field_problems_come_as_a_list_even_to_a_browser(client: GateClient) -> None:
    response = await client.get("/fields", headers={"Accept": "text/html"})
    assert response.status == 422
    problem = (await response.json())["detail"][0]
    assert problem["loc"] == ["body", "amount"]


async def test_a_navigation_gets_a_page_with_every_text_escaped(client: GateClient) -> None:
    response = await client.get("/hostile", headers={"Sec-Fetch-Mode": "navigate"})
    page = await response.text()
    assert response.content_type == "text/html"
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_a_fetch_that_accepts_html_still_gets_json(client: GateClient) -> None:
    headers = {"Sec-Fetch-Mode": "cors", "Accept": "text/html"}
    response = await client.get("/expired", headers=headers)
    assert (await response.json())["code"] == "token_expired"


async def test_an_event_source_gets_204_to_stop_reconnecting(client: GateClient) -> None:
    response = await client.get("/expired", headers={"Accept": "text/event-stream"})
    assert response.status == 204


async def test_a_rate_limit_response_has_retry_after(client: GateClient) -> None:
    response = await client.get("/limited")
    assert response.status == 429
    assert response.headers["Retry-After"] == "7"


async def test_a_bug_is_logged_and_tells_the_client_nothing(
    client: GateClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.get("/bug")
    assert response.status == 500
    assert "hunter2" not in await response.text()
    assert "unexpected error" in caplog.text


async def test_unknown_paths_and_methods_have_the_shape_too(client: GateClient) -> None:
    missing = await client.get("/nowhere")
    assert (missing.status, (await missing.json())["code"]) == (404, "not_found")
    wrong = await client.post("/balance")
    assert (wrong.status, (await wrong.json())["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]
