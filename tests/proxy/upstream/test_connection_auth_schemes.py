"""The schemes that authenticate a connection, and which connections can be shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.authenticating_upstream import ServeAuthenticating
from tests.kit.proxy_gates import PREFIX, GateFactory
from tests.kit.raw_connections import Connect
from zenzefi.proxy.upstream.connection_auth import has_credentials, is_challenged

pytestmark = pytest.mark.every_loop


@pytest.mark.parametrize(
    "lines",
    [
        "WWW-Authenticate: NTLM",
        'www-authenticate: Basic realm="x", nEgOtIaTe',
        "WWW-Authenticate: Basic realm=x\r\nWWW-Authenticate: Negotiate YII=",
        "Proxy-Authenticate: NTLM",
        "Proxy-Authenticate: Basic realm=x,NTLM TlRM",
        "Persistent-Auth: true",
    ],
)
@pytest.mark.parametrize("path", ["/open", "/page"])
async def test_a_connection_that_has_seen_a_sign_is_not_shared(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect, lines: str, path: str
) -> None:
    upstream = await serve(always=lines + "\r\n", challenge="")
    gate = await start_gate(upstream.url)
    for number in range(1, 4):
        browser = await connect(gate)
        await browser.request(PREFIX + path)
        await browser.request(PREFIX + path)
        assert upstream.made == number, "its own is kept, another client's is not used"
    assert gate.gate.upstream.budget.idle == 0


@pytest.mark.parametrize(
    "lines", ['WWW-Authenticate: Basic realm="NTLM-free"', "WWW-Authenticate: Digest realm=x"]
)
async def test_other_schemes_share_connections(
    start_gate: GateFactory, serve: ServeAuthenticating, connect: Connect, lines: str
) -> None:
    upstream = await serve(always=lines + "\r\n", challenge="")
    gate = await start_gate(upstream.url)
    for _ in range(3):
        browser = await connect(gate)
        await browser.request(PREFIX + "/page", "Authorization: Basic dTpw")
    assert upstream.made == 1


_SCHEMES = st.sampled_from(["Basic", "Digest", "Bearer", "NTLM", "Negotiate", "nTLM", "Kerberos"])


_BOUND = {"ntlm", "negotiate", "kerberos"}


@given(
    schemes=st.lists(_SCHEMES, min_size=1, max_size=5),
    separator=st.sampled_from([",", ", ", " ,\t"]),
    parameters=st.sampled_from(["", " TlRMTVNTUA==", ' realm="a, b"']),
    name=st.sampled_from([b"WWW-Authenticate", b"www-authenticate", b"PROXY-AUTHENTICATE"]),
)
def test_a_scheme_is_found_anywhere_in_the_list(
    schemes: list[str], separator: str, parameters: str, name: bytes
) -> None:
    value = separator.join(scheme + parameters for scheme in schemes).encode()
    expected = any(scheme.lower() in _BOUND for scheme in schemes)
    assert is_challenged([(b"X", b"y"), (name, value)]) == expected
    assert not is_challenged([(b"X-" + name, value)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"NTLM TlRM", True),
        (b"  negotiate\tYII", True),
        (b"Negotiate", True),
        (b"NTLMv2x abc", False),
        (b"Basic NTLM", False),
        (b"", False),
    ],
)
def test_credentials_are_recognised_by_their_scheme(value: bytes, expected: bool) -> None:
    assert has_credentials([(b"authorization", value)]) is expected
    assert has_credentials([(b"Proxy-Authorization", value)]) is expected
    assert not has_credentials([(b"x-authorization", value)])
