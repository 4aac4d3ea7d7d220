from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zenzefi.proxy.websocket.frames import FrameCursor, close_frame


def frame(size: int, masked: bool) -> bytes:
    mask = b"\1\2\3\4" if masked else b""
    bit = 0x80 if masked else 0
    if size < 126:
        length = bytes((bit | size,))
    elif size < 65536:
        length = bytes((bit | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((bit | 127,)) + size.to_bytes(8, "big")
    return b"\x82" + length + mask + b"\x88" * size  # a payload that looks like frames


FRAMES = st.lists(
    st.builds(
        frame,
        st.integers(0, 300) | st.sampled_from([125, 126, 65535, 65536]),
        st.booleans(),
    ),
    max_size=8,
)


@given(FRAMES, st.lists(st.integers(1, 70000), max_size=30))
def test_boundaries_are_found_wherever_the_bytes_are_cut(frames: Any, cuts: list[int]) -> None:
    data = b"".join(frames)
    boundaries = {0}
    for one in frames:
        boundaries.add(max(boundaries) + len(one))
    cursor, position = FrameCursor(), 0
    for cut in [*cuts, len(data)]:
        piece = data[position : position + cut]
        assert cursor.feed(piece) == len(piece)
        position += len(piece)
        assert cursor.is_at_boundary == (position in boundaries)


@given(FRAMES.filter(bool), st.integers(0, 400))
def test_the_next_boundary_is_where_it_stops(frames: Any, start: int) -> None:
    data = b"".join(frames)
    start = min(start, len(data) - 1)
    cursor = FrameCursor()
    cursor.feed(data[:start])
    used = cursor.feed(data[start:], stop_at_boundary=True)
    ends, position = [], 0
    for one in frames:
        position += len(one)
        ends.append(position)
    assert start + used == next(end for end in ends if end > start)
    assert cursor.is_at_boundary


def test_close_frames_have_code_and_reason_and_stay_short() -> None:
    assert close_frame(4401, "over", masked=False) == b"\x88\x06\x11\x31over"
    long = close_frame(4401, "я" * 100, masked=False)
    assert long[1] <= 125
    long[4:].decode()
    masked = close_frame(1001, "", masked=True)
    assert masked[1] == 0x82
    assert bytes(a ^ b for a, b in zip(masked[6:], masked[2:6], strict=False)) == b"\x03\xe9"


@given(FRAMES, st.booleans(), st.lists(st.integers(1, 70000), max_size=30))
def test_a_close_frame_is_met_where_it_begins_and_not_in_a_payload(
    frames: Any, has_close: bool, cuts: list[int]
) -> None:
    data = b"".join(frames)
    end = len(data)
    if has_close:
        data += close_frame(1000, "", masked=True)
    cursor, position, met = FrameCursor(), 0, False
    for cut in [*cuts, len(data)]:
        piece = data[position : position + cut]
        position += len(piece)
        met = cursor.meets_close(piece)
        if met:
            assert position > end
            break
    assert met == has_close
