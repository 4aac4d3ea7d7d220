"""Colours with a contrast that people can read (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

Rgb = tuple[int, int, int]

READABLE = 4.5
"""The least contrast of normal text."""

_BLACK: Rgb = (0, 0, 0)
_WHITE: Rgb = (255, 255, 255)


def parse(color: str) -> Rgb:
    """The parts of ``#rrggbb``."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def text(color: Rgb) -> str:
    """``#rrggbb`` of a colour."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def luminance(color: Rgb) -> float:
    """The relative luminance, from 0 (black) to 1 (white)."""
    parts = [part / 255 for part in color]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Rgb, other: Rgb) -> float:
    """The contrast of two colours, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def mix(one: Rgb, other: Rgb, share: float) -> Rgb:
    """``one`` with this share of ``other``, from 0 to 1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def readable_on(background: Rgb, color: Rgb, least: float = READABLE) -> Rgb:
    """``color``, made darker or lighter until it has the least contrast on the background."""
    toward = _BLACK if contrast(background, _BLACK) > contrast(background, _WHITE) else _WHITE
    for step in range(21):
        found = mix(color, toward, step / 20)
        if contrast(background, found) >= least:
            return found
    return toward


def text_on(background: Rgb) -> Rgb:
    """White or black: the one with the higher contrast to the background."""
    return max(_WHITE, _BLACK, key=lambda color: contrast(background, color))
