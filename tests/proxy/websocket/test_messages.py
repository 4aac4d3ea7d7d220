from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.proxy_gates import GateFactory
from zenzefi.plugins import Plugin
from zenzefi.proxy.setup import ENGINE
from zenzefi.proxy.websocket.frames import xor
from zenzefi.proxy.websocket.messages import FrameError, MessageFilter, data_frame
from zenzefi.rewriting.engine import Engine
from zenzefi.rewriting.plugins.registry import Registry

Message = str | bytes


def same(data: Message) -> Message:
    return data


def upper(data: Message) -> Message:
    return data.upper()


@given(
    st.lists(st.text(max_size=300) | st.binary(max_size=70000), max_size=5),
    st.booleans(),
    st.integers(1, 5000),
)
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    messages: list[Message], masked: bool, cut: int
) -> None:
    seen: list[Message] = []
    reader = MessageFilter(seen.append, masked=masked)
    wire = b"".join(
        data_frame(1, m.encode(), masked=masked)
        if isinstance(m, str)
        else data_frame(2, m, masked=masked)
        for m in messages
    )
    for start in range(0, len(wire), cut):
        assert reader.feed(wire[start : start + cut]) == b""
    assert seen == messages


def test_fragments_become_one_message_and_control_frames_pass_between_them() -> None:
    reader = MessageFilter(upper, masked=False)
    out = reader.feed(b"\x01\x02he" + b"\x89\x01p" + b"\x80\x03llo")
    assert out == b"\x89\x01p" + b"\x81\x05HELLO"


def test_a_message_may_be_dropped() -> None:
    reader = MessageFilter(lambda _: None, masked=False)
    assert reader.feed(b"\x81\x02hi") == b""


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"\xc1\x02hi", 1002),
        (b"\x81\x82\0\0\0\0hi", 1002),
        (b"\x80\x02hi", 1002),
        (b"\x01\x01a\x81\x01b", 1002),
        (b"\x83\x01a", 1002),
        (b"\x89\x7e\x01\x00", 1002),
        (b"\x81\x01\xff", 1007),
        (b"\x82\x7f\x00\x00\x00\x00\x7f\xff\xff\xff", 1009),
    ],
)
def test_malformed_frames_name_their_close_code(wire: bytes, code: int) -> None:
    with pytest.raises(FrameError) as error:
        MessageFilter(same, masked=False).feed(wire)
    assert error.value.code == code


def test_a_message_beyond_the_bound_is_1009() -> None:
    reader = MessageFilter(same, masked=False, longest=10)
    reader.feed(b"\x01\x06aaaaaa")
    with pytest.raises(FrameError) as error:
        reader.feed(b"\x80\x06aaaaaa")
    assert error.value.code == 1009


@given(st.binary(max_size=50), st.binary(min_size=4, max_size=4))
def test_masking_twice_gives_the_same_bytes(payload: bytes, mask: bytes) -> None:
    masked = xor(payload, mask)
    assert masked == bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    assert xor(masked, mask) == payload


class Shout(Plugin):
    """Upper case to the upstream, a mark to the browser."""

    name = "shout"
    messages = True

    def websocket_message(self, context: Any, message: Any) -> Any:
        if message.direction == "to_upstream":
            return message.data.upper()
        return message.data + "!" if isinstance(message.data, str) else message.data


async def test_a_plugin_with_the_hook_sees_every_message(
    start_gate: GateFactory, upstream: str, client: ClientSession
) -> None:
    gate = await start_gate(upstream, engine=Engine(Registry(classes=[Shout], entry_points=False)))
    assert gate.app[ENGINE].registry["shout"]
    async with client.ws_connect(gate.proxy_url + "/socket", compress=15) as ws:
        assert (await ws.receive()).data.endswith("}!")
        await ws.send_str("hello")
        assert (await ws.receive()).data == "HELLO!"
        await ws.send_bytes(b"a" * 100_000)
        assert (await ws.receive()).data == b"A" * 100_000
        await ws.send_str("x" * 20_000_000)
        assert (await ws.receive()).data == 1009
