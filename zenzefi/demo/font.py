"""The site's own typeface, Beacon: letters of lamps, written as a TrueType file by arithmetic.

Tables and their fields are those of the OpenType specification (ISO/IEC 14496-22), only the
required ones. Each letter is a grid of five by seven lamps, each lamp an octagon.
"""

from __future__ import annotations

import functools
import struct

_GRID = {
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "B": "11110 10001 10001 11110 10001 10001 11110",
    "C": "01111 10000 10000 10000 10000 10000 01111",
    "D": "11110 10001 10001 10001 10001 10001 11110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "F": "11111 10000 10000 11110 10000 10000 10000",
    "G": "01111 10000 10000 10011 10001 10001 01111",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "I": "01110 00100 00100 00100 00100 00100 01110",
    "J": "00111 00010 00010 00010 00010 10010 01100",
    "K": "10001 10010 10100 11000 10100 10010 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "N": "10001 11001 10101 10101 10011 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "Q": "01110 10001 10001 10001 10101 10010 01101",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "V": "10001 10001 10001 10001 10001 01010 00100",
    "W": "10001 10001 10001 10101 10101 11011 10001",
    "X": "10001 10001 01010 00100 01010 10001 10001",
    "Y": "10001 10001 01010 00100 00100 00100 00100",
    "Z": "11111 00001 00010 00100 01000 10000 11111",
}
_UNITS, _CELL, _LAMP, _CUT = 1000, 110, 92, 27
_ADVANCE = 6 * _CELL
_ASCENT, _DESCENT = 800, -200


def _lamp(x: int, y: int) -> list[tuple[int, int]]:
    far, near = _LAMP, _CUT
    return [
        (x + near, y), (x, y + near), (x, y + far - near), (x + near, y + far),
        (x + far - near, y + far), (x + far, y + far - near),
        (x + far, y + near), (x + far - near, y),
    ]  # fmt: skip


def _glyph(grid: str) -> bytes:
    """One ``glyf`` entry: a simple glyph, a contour per lamp, all points on the curve."""
    contours = [
        _lamp(column * _CELL, (6 - row) * _CELL)
        for row, line in enumerate(grid.split())
        for column, lit in enumerate(line)
        if lit == "1"
    ]
    points = [point for contour in contours for point in contour]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ends, end = [], -1
    for contour in contours:
        end += len(contour)
        ends.append(end)

    def deltas(values: list[int]) -> bytes:
        steps = [b - a for a, b in zip([0, *values], values, strict=False)]
        return struct.pack(f">{len(steps)}h", *steps)

    data = (
        struct.pack(">5h", len(contours), min(xs), min(ys), max(xs), max(ys))
        + struct.pack(f">{len(ends)}H", *ends)
        + struct.pack(">H", 0)
        + b"\x01" * len(points)
        + deltas(xs)
        + deltas(ys)
    )
    return data + b"\0" * (-len(data) % 4)


def _cmap(codes: list[int]) -> bytes:
    """Format 4: the letters (upper and lower case alike) and the space."""
    first = 2  # glyph of the first letter, after .notdef and space
    segments = [
        (0x20, 0x20, 1 - 0x20),
        (codes[0], codes[-1], first - codes[0]),
        (codes[0] + 32, codes[-1] + 32, first - codes[0] - 32),
        (0xFFFF, 0xFFFF, 1),
    ]
    count = len(segments)
    body = (
        struct.pack(">4H", count * 2, 8, 2, 0)
        + struct.pack(f">{count}H", *(last for _, last, _ in segments))
        + b"\0\0"
        + struct.pack(f">{count}H", *(start for start, _, _ in segments))
        + struct.pack(f">{count}H", *(delta % 65536 for _, _, delta in segments))
        + b"\0\0" * count
    )
    return struct.pack(">HHHHI", 0, 1, 3, 1, 12) + struct.pack(">HHH", 4, len(body) + 6, 0) + body


def _name() -> bytes:
    texts = {1: "Beacon", 2: "Regular", 3: "Beacon 1", 4: "Beacon", 5: "Version 1.0", 6: "Beacon"}
    records, storage = b"", b""
    for identifier, text in texts.items():
        data = text.encode("utf-16-be")
        records += struct.pack(">6H", 3, 1, 0x409, identifier, len(data), len(storage))
        storage += data
    return struct.pack(">3H", 0, len(texts), 6 + len(records)) + records + storage


def _os2(first: int, last: int) -> bytes:
    return (
        struct.pack(">HhHHH", 4, _ADVANCE, 400, 5, 0)
        + struct.pack(">10h", 650, 600, 0, 75, 650, 600, 0, 350, 50, 300)
        + struct.pack(">h", 0)
        + b"\x02\x00\x05\x03"
        + b"\0" * 6
        + struct.pack(">4I", 1, 0, 0, 0)
        + b"LNTN"
        + struct.pack(">HHH", 0x40, first, last)
        + struct.pack(">hhhHH", _ASCENT, _DESCENT, 0, _ASCENT, -_DESCENT)
        + struct.pack(">II", 1, 0)
        + struct.pack(">hhHHH", 550, 770, 0, 32, 0)
    )


def _checksum(data: bytes) -> int:
    padded = data + b"\0" * (-len(data) % 4)
    total: int = sum(struct.unpack(f">{len(padded) // 4}I", padded))
    return total % 2**32


@functools.lru_cache(maxsize=1)
def beacon() -> bytes:
    """The font file."""
    codes = sorted(ord(letter) for letter in _GRID)
    glyphs = [_glyph("11111 10001 10001 10001 10001 10001 11111"), b""]
    glyphs += [_glyph(_GRID[chr(code)]) for code in codes]
    offsets = [0]
    for glyph in glyphs:
        offsets.append(offsets[-1] + len(glyph))
    most = max(len(grid.replace(" ", "").replace("0", "")) for grid in _GRID.values())
    box = (0, 0, 4 * _CELL + _LAMP, 6 * _CELL + _LAMP)
    head = struct.pack(
        ">IIIIHHqqhhhhHHhhh",
        0x10000, 0x10000, 0, 0x5F0F3CF5, 3, _UNITS, 3850000000, 3850000000, *box, 0, 8, 2, 1, 0,
    )  # fmt: skip
    hhea = struct.pack(
        ">IhhhHhhhhhhhhhhhH",
        0x10000, _ASCENT, _DESCENT, 0, _ADVANCE, 0, _ADVANCE - box[2], box[2], 1,
        0, 0, 0, 0, 0, 0, 0, len(glyphs),
    )  # fmt: skip
    tables = {
        b"OS/2": _os2(codes[0], codes[-1] + 32),
        b"cmap": _cmap(codes),
        b"glyf": b"".join(glyphs),
        b"head": head,
        b"hhea": hhea,
        b"hmtx": struct.pack(">Hh", _ADVANCE, 0) * len(glyphs),
        b"loca": struct.pack(f">{len(offsets)}I", *offsets),
        b"maxp": struct.pack(
            ">IHHHHHHHHHHHHHH",
            0x10000,
            len(glyphs),
            most * 8,
            most,
            0,
            0,
            2,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ),
        b"name": _name(),
        b"post": struct.pack(">IIhhIIIII", 0x30000, 0, -75, 50, 0, 0, 0, 0, 0),
    }
    count = len(tables)
    power = 1 << (count.bit_length() - 1)
    directory = struct.pack(
        ">IHHHH", 0x10000, count, power * 16, power.bit_length() - 1, count * 16 - power * 16
    )
    offset, body, head_at = 12 + 16 * count, b"", 0
    for tag, data in tables.items():
        head_at = offset if tag == b"head" else head_at
        directory += struct.pack(">4sIII", tag, _checksum(data), offset, len(data))
        padded = data + b"\0" * (-len(data) % 4)
        body += padded
        offset += len(padded)
    font = bytearray(directory + body)
    struct.pack_into(">I", font, head_at + 8, (0xB1B0AFBA - _checksum(bytes(font))) % 2**32)
    return bytes(font)
