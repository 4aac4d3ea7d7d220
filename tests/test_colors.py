"""Colours of the brand: texts can be read with every colour that the operator chooses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zenzefi import colors
from zenzefi.branding import palette

PARTS = st.integers(0, 255)
COLORS = st.tuples(PARTS, PARTS, PARTS)


def test_contrast_as_wcag_defines_it() -> None:
    assert colors.contrast((0, 0, 0), (255, 255, 255)) == 21
    assert round(colors.contrast((255, 255, 255), (0x76, 0x76, 0x76)), 2) == 4.54
    assert colors.contrast((7, 7, 7), (7, 7, 7)) == 1


@given(COLORS, COLORS)
def test_a_readable_colour_has_the_least_contrast(
    background: colors.Rgb, color: colors.Rgb
) -> None:
    found = colors.readable_on(background, color)
    assert colors.contrast(background, found) >= colors.READABLE
    if colors.contrast(background, color) >= colors.READABLE:
        assert found == color


@given(COLORS)
def test_every_brand_colour_gives_a_readable_palette_in_both_schemes(color: colors.Rgb) -> None:
    for is_dark, grounds in ((False, ("#f6f4ef", "#ffffff")), (True, ("#1b2126", "#12161a"))):
        found = palette(colors.text(color), is_dark=is_dark)
        parsed = {name: colors.parse(value) for name, value in found.items()}
        for ground in grounds:
            assert colors.contrast(parsed["--link"], colors.parse(ground)) >= 4.5
        assert colors.contrast(parsed["--on-accent"], parsed["--accent"]) >= 4.5
        assert colors.contrast(parsed["--accent-strong"], parsed["--accent-soft"]) >= 4.5
