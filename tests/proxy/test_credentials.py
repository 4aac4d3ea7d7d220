"""The cookies that admit a browser: only those bound to it, also among planted ones."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from tests.kit.proxy_gates import PREFIX, TOKEN, GateFactory, RunningGate
from zenzefi.gate_cookies import SEAL, stored_name

CHROMIUM = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36"
OLD = "Mozilla/5.0 (Windows NT 6.1) AppleWebKit/537.36 Chrome/90.0.0.0 Safari/537.36"
FOREIGN = "F" * 64  # the token of an attacker, who has bought one
SEALED = SEAL + "zenzefi_sign_in"
PLAIN = "zenzefi_sign_in"


def browser(agent: str = CHROMIUM, *pairs: str) -> tuple[str, ...]:
    return (
        f"User-Agent: {agent}",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Dest: empty",
        f"Cookie: {'; '.join(pairs)}",
    )


async def request(
    gate: RunningGate, *headers: str, path: str = "/x"
) -> tuple[int, str | None, bytes]:
    response = await gate.request(PREFIX + path, *headers, token=None)
    head, _, body = response.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    code = json.loads(body).get("code") if status >= 400 else None
    return status, code, head


@pytest.fixture
async def gate(prefix_gate: RunningGate) -> RunningGate:
    """Where the gate's own calls and the application are seen with the same cookies."""
    return prefix_gate


@pytest.fixture
async def bound(gate: RunningGate) -> tuple[Any, ...]:
    """A gate, and the secret of a browser that signed in there."""
    gate.tokens.add(FOREIGN, activated=True)
    return gate, gate.sign_ins.add(agent=CHROMIUM)


@pytest.mark.parametrize("path", ["/x", "/status"])
async def test_a_browser_needs_the_sign_in_of_this_very_token(bound: Any, path: str) -> None:
    gate, secret = bound
    theirs = gate.sign_ins.add(FOREIGN, agent=CHROMIUM, address="203.0.113.9")
    cases = {
        (f"zenzefi_access_token={TOKEN}", f"{SEALED}={secret}"): (200, None),
        (f"zenzefi_access_token={TOKEN}",): (401, "sign_in_required"),
        (f"zenzefi_access_token={FOREIGN}", f"{SEALED}={secret}"): (401, "sign_in_required"),
        (f"zenzefi_access_token={TOKEN}", f"{SEALED}={theirs}"): (401, "sign_in_required"),
        (f"zenzefi_access_token={TOKEN}", f"{SEALED}={'x' * 43}"): (401, "sign_in_required"),
        # Names that a script can write, in a browser that keeps the seal.
        (f"zenzefi_access_token={TOKEN}", f"{PLAIN}={secret}"): (401, "sign_in_required"),
        (f"zenzefi_access_token={TOKEN}", f"__Host-{PLAIN}={secret}"): (401, "sign_in_required"),
        (f"{SEALED}={secret}",): (401, "token_missing"),
        ("a=1",): (401, "token_missing"),
    }
    for pairs, expected in cases.items():
        status, code, _ = await request(gate, *browser(CHROMIUM, *pairs), path=path)
        assert (status, code) == expected, pairs


@pytest.mark.parametrize("how", ["sec-fetch", "mozilla"])
async def test_either_mark_of_a_browser_requires_the_sign_in(gate: RunningGate, how: str) -> None:
    mark = {"sec-fetch": "Sec-Fetch-Site: same-origin", "mozilla": f"User-Agent: {OLD}"}[how]
    cookie = f"Cookie: zenzefi_access_token={TOKEN}"
    assert (await request(gate, mark, cookie))[:2] == (401, "sign_in_required")
    assert (await request(gate, "User-Agent: curl/8", cookie))[0] == 200


async def test_of_any_number_of_proxy_cookies_the_bound_one_is_chosen(bound: Any) -> None:
    gate, secret = bound
    dice = random.Random(3)
    for count in (1, 5, 40):
        planted = [f"zenzefi_access_token={number:064x}" for number in range(count)]
        planted += [f"zenzefi_access_token={FOREIGN}", "zenzefi_access_token=short"]
        pairs = [*planted, f"zenzefi_access_token={TOKEN}", f"{SEALED}={secret}"]
        dice.shuffle(pairs)
        status, _, head = await request(gate, *browser(CHROMIUM, *pairs), path="/x")
        assert status == 200, pairs
        response = await gate.request(PREFIX + "/x", *browser(CHROMIUM, *pairs), token=None)
        echoed = json.loads(response.partition(b"\r\n\r\n")[2])
        user = str(gate.tokens.known[TOKEN].user_id)
        assert ["X-User-Id", user] in [list(pair) for pair in echoed["headers"]], head


async def test_many_sign_in_cookies_do_not_lock_a_browser_out(bound: Any) -> None:
    gate, _ = bound
    secret = gate.sign_ins.add(agent=OLD, is_sealed=False)
    planted = [f"{PLAIN}={number:043x}" for number in range(60)]
    pairs = [*planted, f"{PLAIN}={secret}", f"zenzefi_access_token={TOKEN}"]
    assert (await request(gate, *browser(OLD, *pairs)))[0] == 200


async def test_where_a_script_can_write_the_name_the_sign_in_is_bound_to_network_and_browser(
    bound: Any,
) -> None:
    gate, _ = bound
    own = gate.sign_ins.add(agent=OLD, is_sealed=False)
    cases = {
        own: 200,
        # The attacker signed in with the very same browser, elsewhere, and a script plants it.
        gate.sign_ins.add(agent=OLD, is_sealed=False, address="203.0.113.9"): 401,
        gate.sign_ins.add(agent=OLD, is_sealed=True, address="203.0.113.9"): 401,
        gate.sign_ins.add(agent=CHROMIUM, is_sealed=True): 401,
        gate.sign_ins.add(agent="Mozilla/5.0 Other", is_sealed=False): 401,
        # A newer version of the same browser in the same network.
        gate.sign_ins.add(
            agent=OLD.replace("90.0", "89.1"), is_sealed=False, address="127.0.0.77"
        ): 200,
    }
    for secret, expected in cases.items():
        pairs = (f"zenzefi_access_token={TOKEN}", f"{PLAIN}={secret}")
        assert (await request(gate, *browser(OLD, *pairs)))[0] == expected


async def test_a_sign_in_that_ends_is_noticed_on_a_kept_connection(
    bound: Any, upstream: str
) -> None:
    gate, secret = bound
    pairs = (f"zenzefi_access_token={TOKEN}", f"{SEALED}={secret}")
    head = "\r\n".join(
        [f"GET {PREFIX}/x HTTP/1.1", f"Host: 127.0.0.1:{gate.port}", *browser(CHROMIUM, *pairs)]
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    for expected in (b"200", b"200", b"200", b"401"):
        if expected == b"401":
            await gate.sign_ins.end(gate.sign_ins.known[secret].family)
        writer.write(head.encode() + b"\r\n\r\n")
        response = await reader.readuntil(b"\r\n\r\n")
        assert response.split()[1] == expected
        length = next(
            int(line.split(b":")[1])
            for line in response.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
    writer.close()
    # The token is as good as before for those who send it in a header.
    assert (await gate.request(PREFIX + "/x")).startswith(b"HTTP/1.1 200")


async def test_authenticate_signs_in_and_logout_ends_it_on_the_server(
    start_gate: GateFactory, upstream: str
) -> None:
    gate = await start_gate(upstream)
    response = await gate.request(
        PREFIX + "/authenticate",
        f"User-Agent: {CHROMIUM}",
        "Sec-Fetch-Site: same-origin",
        f"Origin: {gate.url}",
        "Content-Type: application/json",
        f"Content-Length: {len(json.dumps({'token': TOKEN}))}",
        method="POST",
        token=None,
        body=json.dumps({"token": TOKEN}).encode(),
    )
    assert response.startswith(b"HTTP/1.1 200"), response
    lines = [line for line in response.decode().split("\r\n") if line.startswith("Set-Cookie: ")]
    pairs = [line.removeprefix("Set-Cookie: ").split(";")[0] for line in lines]
    assert pairs[0] == f"zenzefi_access_token={TOKEN}"
    assert pairs[1].startswith(f"{SEALED}=")
    assert all("HttpOnly" in line and "Path=/" in line for line in lines)
    assert "Secure" in lines[1]
    assert (await request(gate, *browser(CHROMIUM, *pairs), path="/status"))[0] == 200
    out = await gate.request(
        PREFIX + "/logout", *browser(CHROMIUM, *pairs), method="DELETE", token=None
    )
    assert out.count(b"Max-Age=0") == 2
    # A copy of the cookies is useless after that.
    assert (await request(gate, *browser(CHROMIUM, *pairs), path="/status"))[:2] == (
        401,
        "sign_in_required",
    )


@pytest.mark.parametrize("referer", ["/account", "/api/v1/proxy/x", None])
async def test_where_scripts_share_the_origin_no_browser_calls_authenticate(
    gate: RunningGate, referer: str | None
) -> None:
    """A script under the mount shows any path of the origin as its ``Referer``."""
    body = json.dumps({"token": TOKEN}).encode()
    response = await gate.request(
        PREFIX + "/authenticate",
        f"User-Agent: {CHROMIUM}",
        "Sec-Fetch-Site: same-origin",
        f"Origin: {gate.url}",
        *([] if referer is None else [f"Referer: {gate.url}{referer}"]),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        method="POST",
        token=None,
        body=body,
    )
    assert response.startswith(b"HTTP/1.1 403")
    assert not gate.sign_ins.known


@pytest.mark.parametrize(
    "headers",
    [
        ["Sec-Fetch-Site: cross-site"],
        ["Sec-Fetch-Site: same-site"],
        ["Origin: https://evil.example"],
        ["Origin: null"],
        ["Origin: http://127.0.0.1:1"],
        ["Referer: https://evil.example/page"],
        ["Referer: {gate}/api/v1/proxy/page"],
        ["Referer: {gate}/api/v1/proxy"],
        ["Origin: {gate}", "Origin: https://evil.example"],
        ["Sec-Fetch-Site: same-origin", "Content-Type: text/plain"],
        ["Sec-Fetch-Mode: no-cors", "Content-Type: "],
        [f"User-Agent: {OLD}", "Content-Type:"],
    ],
)
async def test_a_foreign_page_can_not_sign_a_browser_in(
    start_gate: GateFactory, upstream: str, headers: list[str]
) -> None:
    """At a separate origin: with ``BROWSER_MOUNT=prefix`` all browsers are refused."""
    gate = await start_gate(upstream)
    body = json.dumps({"token": TOKEN}).encode()
    named = [header.replace("{gate}", gate.url) for header in headers]
    if not any(header.startswith("Content-Type") for header in named):
        named.append("Content-Type: application/json")
    named = [header for header in named if not header.rstrip().endswith("Content-Type:")]
    response = await gate.request(
        PREFIX + "/authenticate",
        *named,
        f"Content-Length: {len(body)}",
        method="POST",
        token=None,
        body=body,
    )
    assert response.split()[1] in (b"403", b"422"), response
    assert b"Set-Cookie" not in response
    assert not gate.sign_ins.known


@pytest.mark.parametrize("headers", [[], ["Content-Type: application/json"]])
async def test_a_program_signs_in_as_before(gate: RunningGate, headers: Any) -> None:
    body = json.dumps({"token": TOKEN}).encode()
    response = await gate.request(
        PREFIX + "/authenticate",
        *headers,
        f"Content-Length: {len(body)}",
        method="POST",
        token=None,
        body=body,
    )
    assert response.startswith(b"HTTP/1.1 200")
    assert (await request(gate, f"Cookie: zenzefi_access_token={TOKEN}"))[0] == 200


def test_names_are_sealed_where_browsers_keep_the_seal(gate: RunningGate) -> None:
    from zenzefi.settings import parse_origin

    cases = [
        ("https://gate.example", "gate.example", CHROMIUM, True),
        ("https://gate.example", "gate.example", OLD, True),
        ("https://gate.example", "app.gate.example", "curl/8", True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", CHROMIUM, True),
        ("http://127.0.0.1:8000", "app.localhost:8000", CHROMIUM, True),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", OLD, False),
        ("http://gate.example", "gate.example", CHROMIUM, False),
        ("http://gate.example", "localhost", CHROMIUM, False),
    ]
    for public, host, agent, sealed in cases:
        found = stored_name("zenzefi_x", parse_origin(public), host, agent)
        assert found == (SEAL if sealed else "") + "zenzefi_x", (public, host, agent)
