"""Marks of origins, by which the runtime recognises the upstream's URLs without its origin.

A page must not disclose the upstream's origin. The runtime gets a short keyed hash of each
of the upstream's origins, and compares it with the hash of a URL that a script uses. The hash
is HalfSipHash-2-4 (Aumasson and Bernstein, https://github.com/veorq/SipHash): a browser computes it
in a microsecond without WebCrypto, which is asynchronous and missing on plain http. Its key is
public, so only its length hides the origin: with 20 bits thousands of private addresses share
every mark, while a foreign origin is taken for the upstream's once in a million
(docs/adr/0016-isolation-under-the-prefix.md).
"""

from __future__ import annotations

import functools

from zenzefi.origin import Origin

_BITS = 20
_WORD = 0xFFFFFFFF
NO_KEY = "0" * 16
"""The key of a gate without one: 8 bytes in hexadecimal digits."""


@functools.lru_cache(maxsize=64)
def marks(origins: frozenset[Origin], key: str = NO_KEY) -> str:
    """The text for the runtime: the key and the marks of ``origins``, with spaces between them.

    ``key`` is 16 hexadecimal digits; raises ``ValueError`` for one of another form.
    """
    raw = bytes.fromhex(key)
    if len(raw) != 8:
        raise ValueError("the key of marks is 16 hexadecimal digits")
    found = {half_siphash(str(origin).encode("ascii"), raw) >> 32 - _BITS for origin in origins}
    return " ".join([key, *(f"{mark:05x}" for mark in sorted(found))])


def half_siphash(data: bytes, key: bytes) -> int:
    """HalfSipHash-2-4 of ``data`` under 8 bytes of ``key``: 32 bits."""
    k0, k1 = int.from_bytes(key[:4], "little"), int.from_bytes(key[4:], "little")
    state = [k0, k1, 0x6C796765 ^ k0, 0x74656462 ^ k1]
    padded = data + bytes(-(len(data) + 1) % 4) + bytes([len(data) & 0xFF])
    for at in range(0, len(padded), 4):
        word = int.from_bytes(padded[at : at + 4], "little")
        state[3] ^= word
        _rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _rounds(state, 4)
    return state[1] ^ state[3]


def _rounds(state: list[int], count: int) -> None:
    v0, v1, v2, v3 = state
    for _ in range(count):
        v0 = v0 + v1 & _WORD
        v1 = _rotated(v1, 5) ^ v0
        v0 = _rotated(v0, 16)
        v2 = v2 + v3 & _WORD
        v3 = _rotated(v3, 8) ^ v2
        v0 = v0 + v3 & _WORD
        v3 = _rotated(v3, 7) ^ v0
        v2 = v2 + v1 & _WORD
        v1 = _rotated(v1, 13) ^ v2
        v2 = _rotated(v2, 16)
    state[:] = v0, v1, v2, v3


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _WORD
