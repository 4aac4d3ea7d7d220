"""Other sites' scripts may call the API only where the operator named them."""

from tests.kit.gates import MakeGate

SHOP = "https://shop.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Origin": SHOP}


async def test_a_named_site_may_ask_and_read_errors_too(make_gate: MakeGate) -> None:
    gate = await make_gate(cors_api_origins=SHOP)
    async with gate.options("/api/v1/auth/login", headers=PREFLIGHT) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
    async with gate.get("/api/v1/users/me", headers={"Origin": SHOP}) as response:
        assert response.status == 403
        assert response.headers["Access-Control-Allow-Origin"] == SHOP
        assert response.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_others_get_no_permission(make_gate: MakeGate) -> None:
    gate = await make_gate(cors_api_origins=SHOP)
    for origin in ("https://evil.example", "https://shop.example.evil.example", "null"):
        headers = PREFLIGHT | {"Origin": origin}
        async with gate.options("/api/v1/auth/login", headers=headers) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "Access-Control-Allow-Methods" not in response.headers


async def test_pages_never_allow_cross_origin_access(make_gate: MakeGate) -> None:
    gate = await make_gate(cors_api_origins=SHOP)
    async with gate.get("/login", headers={"Origin": SHOP}) as response:
        assert "Access-Control-Allow-Origin" not in response.headers
