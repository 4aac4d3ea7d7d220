"""NUL, lone surrogates, broken UTF-8 and broken forms in every place of every call: never a 5xx.

On PostgreSQL too, whose text holds no NUL.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.kit.api import buy, call, sign_up, sign_up_admin
from tests.kit.gates import GateClient, MakeGate
from tests.kit.payments import MOCK, mock_event, open_payment, signed
from tests.kit.recording_upstream import RecordingUpstream
from tests.kit.visitors import Visitor
from zenzefi.api.routing import OPERATIONS, Operation

TEXTS = ["\0", "a\0b", "\ud800", "x\udfffy", "\u202e", "\x85", "9" * 400, "1e999", "NaN", ""]
RAW = [
    b"",
    b"\0",
    b"\xff\xfe",
    b'{"a": "\xed\xa0\x80"}',
    b"[" * 5000,
    b"9" * 6000,
    b'"\\ud800"',
    b"{}\0",
    b"NaN",
    b"--",
]
FORMS = [
    (b"multipart/form-data; boundary=b", b"--b"),
    (b"multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=email"),
    (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
    ),
    (b"multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n--b--"),
    (b"multipart/form-data; boundary=b", b"no boundary at all"),
    (b"multipart/form-data", b"--b\r\n"),
    (b"multipart/form-data; boundary=" + b"b" * 200, b"--b\r\n"),
    (b"multipart/mixed; boundary=b", b"--b\r\nContent-Type: multipart/form-data; boundary=c\r\n"),
    (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="email"\r\nContent-Length: x\r\n'
        b"\r\na\r\n--b--\r\n",
    ),
    (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="email"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n\xff\r\n--b--\r\n",
    ),
    (
        b"multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="email"\r\n'
        b"Content-Type: text/plain; charset=nothing\r\n\r\na\r\n--b--\r\n",
    ),
    (b"application/x-www-form-urlencoded; charset=nothing", b"email=a"),
    (b"application/x-www-form-urlencoded; charset=utf-16", b"email=\xff"),
    (b"application/x-www-form-urlencoded", b"email=%00%ed%a0%80&%ff=%ff&=&&;"),
    (b"application/x-www-form-urlencoded", b"a&" * 5000),
    (b"\xff\xff", b"email=a"),
]


async def status_of(
    gate: GateClient,
    method: str,
    target: str,
    headers: list[bytes],
    body: bytes,
    content_type: bytes = b"application/json",
) -> tuple[int, bytes]:
    """One request, written byte by byte: its status and the whole response."""
    reader, writer = await asyncio.open_connection(gate.host, gate.port)
    try:
        head = [
            f"{method} {target} HTTP/1.1".encode(),
            f"Host: {gate.host}:{gate.port}".encode(),
            b"Connection: close",
            b"Content-Type: " + content_type,
            b"Content-Length: %d" % len(body),
            *headers,
        ]
        writer.write(b"\r\n".join(head) + b"\r\n\r\n" + body)
        response = await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
    return int(response.split(b" ", 2)[1]), response


def _bodies(operation: Operation) -> list[bytes]:
    """Every text in every field, then bytes that are not a JSON object."""
    if operation.body is None:
        return [b"", *RAW[1:4]]
    names = list(operation.body.model_fields)
    whole: list[Any] = [dict.fromkeys(names, text) for text in TEXTS]
    sample = {"email": "a@b.example", "password": "long enough", "username": "a name", "name": "n"}
    for name in names:
        whole += [{**dict.fromkeys(names, 1), **sample, name: text} for text in TEXTS[:4]]
    return [*(json.dumps(one).encode() for one in whole), *RAW]


def _targets(operation: Operation) -> list[str]:
    """The path with hostile parameters, and the query with each."""
    path = operation.path
    for name in ("{provider}", *(f"{{{one}}}" for one in operation.path_parameters)):
        path = path.replace(name, "00000000-0000-4000-8000-000000000000")
    found = [path]
    if "{" in operation.path:
        stem = operation.path.partition("{")[0]
        rest = operation.path.rpartition("}")[2]
        found += [f"{stem}{odd}{rest}" for odd in ("%00", "%ED%A0%80", "%FF", "a%0Ab", "9" * 900)]
    if operation.query is not None:
        for name in operation.query.model_fields:
            found += [f"{path}?{name}={odd}" for odd in ("%00", "%ED%A0%80", "%FF", "9" * 300, "")]
    return found


async def test_no_call_fails_whatever_bytes_it_is_sent(
    make_gate: MakeGate, upstream: RecordingUpstream
) -> None:
    gate = await make_gate(
        zenzefi_target_url=upstream.origin,
        rate_limit_api="off",
        rate_limit_login="off",
        rate_limit_register="off",
        debug=True,
        payment_providers="manual,mock",
    )
    admin = await sign_up_admin(gate)
    token = (await buy(gate, await sign_up(gate), duration_hours=1))["token"]
    headers = [f"Authorization: Bearer {admin}".encode(), b"X-Access-Token: " + token.encode()]
    odd = [b"Idempotency-Key: \xff\x80", b"User-Agent: \xff\xfe", b"Accept-Language: \x80"]
    failed, asked = [], 0
    for operation in gate.app[OPERATIONS]:
        targets = _targets(operation)
        tried = [(target, b"", headers) for target in targets]
        tried += [(targets[0], body, headers) for body in _bodies(operation)]
        tried.append((targets[0], b"{}", headers + odd))
        for target, body, sent in tried:
            asked += 1
            status, response = await status_of(gate, operation.method, target, sent, body)
            if status >= 500:
                failed.append((operation.method, target[:80], body[:120], response[-300:]))
    assert failed == []
    assert asked > 500


@pytest.mark.parametrize(
    "target", ["/api/v1/webhooks/payment/mock", "/api/v1/webhooks/payment/x%00"]
)
async def test_no_webhook_fails_whatever_bytes_it_is_sent(make_gate: MakeGate, target: str) -> None:
    gate = await make_gate(debug=True, payment_providers="manual,mock")
    for content_type, body in [(b"application/json", raw) for raw in RAW] + FORMS:
        status, response = await status_of(gate, "POST", target, [], body, content_type)
        assert status in (400, 404, 422), response


async def test_no_page_fails_whatever_form_it_is_sent(gate: GateClient) -> None:
    visitor = await Visitor(gate).register()
    cookie = "Cookie: " + "; ".join(f"{name}={text}" for name, text in visitor.cookies.items())
    pages = sorted(
        {
            route.resource.canonical
            for route in gate.app.router.routes()
            if route.method == "POST"
            and route.resource is not None
            and not route.resource.canonical.startswith(("/api/", "/demo"))
        }
    )
    assert len(pages) > 10
    failed = []
    for page in pages:
        for odd in ("00000000-0000-4000-8000-000000000000", "%00", "%FF"):
            if odd[0] == "%" and "{" not in page:
                continue
            for content_type, body in FORMS if odd[0] != "%" else FORMS[-3:]:
                target = page
                while "{" in target:
                    before, _, after = target.partition("{")
                    target = before + odd + after.partition("}")[2]
                headers = [cookie.encode()]
                status, response = await status_of(
                    gate, "POST", target, headers, body, content_type
                )
                if status >= 500:
                    failed.append((target, content_type, body, response[-300:]))
    assert failed == []


async def test_no_signed_webhook_fails_whatever_it_tells(make_gate: MakeGate) -> None:
    """A compromised payment service, or one that passes on text of a buyer."""
    gate = await make_gate(**MOCK)
    bearer = await sign_up(gate)
    payment_id = await open_payment(gate, bearer)
    known = mock_event(payment_id, "paid")
    for name in known:
        odd: Any
        for odd in (*TEXTS, None, [], {}, {"a": "\0"}, 2**70, -1, True, "x" * 100_000):
            status, response = await call(
                gate, "POST", "/webhooks/payment/mock", **signed({**known, name: odd})
            )
            assert status in (200, 400, 404, 422), (name, odd, response)
