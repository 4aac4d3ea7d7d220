from tests.kit.gates import MakeGate


async def test_the_server_header_has_no_version(make_gate: MakeGate) -> None:
    gate = await make_gate()
    for path in ("/health", "/", "/nowhere", "/api/v1/users/me"):
        response = await gate.get(path, allow_redirects=False)
        assert response.headers.getall("Server") == ["zenzefi"]
        assert "aiohttp" not in str(response.headers)
