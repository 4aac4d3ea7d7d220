"""Small charts as inline SVG, with presentation attributes and classes only (required by CSP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from zenzefi import i18n
from zenzefi.i18n import gettext as _

_WIDTH, _HEIGHT = 560, 100  # SVG units; the style sheet scales the drawing


@dataclass(frozen=True, slots=True)
class Bar:
    """One interval: its label, and the bytes received and sent by the user."""

    label: str
    received: int
    sent: int


def traffic(title: str, bars: Sequence[Bar]) -> Markup:
    """Received and sent bytes as stacked bars, with the values as text alternative.

    Labels are HTML next to the drawing, so that they keep their size on every screen.
    """
    if not bars:
        return Markup()
    highest = max(bar.received + bar.sent for bar in bars) or 1
    step = _WIDTH / len(bars)
    wide = min(step * 0.7, 36)
    shapes = []
    for index, bar in enumerate(bars):
        left = index * step + (step - wide) / 2
        top: float = _HEIGHT
        for kind, count in (("received", bar.received), ("sent", bar.sent)):
            if not count:
                continue
            tall = max(count / highest * _HEIGHT, 1)
            top -= tall
            shapes.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{max(top, 0):.1f}"'
                f' width="{wide:.1f}" height="{tall:.1f}"/>'
            )
    received, sent = _("received"), _("sent")
    values = "; ".join(
        f"{bar.label}: {i18n.size(bar.received + bar.sent)}"
        for bar in bars
        if bar.received + bar.sent
    )
    shown = [bars[0].label, bars[len(bars) // 2].label, bars[-1].label]
    return Markup(
        '<figure class="chart"><p class="chart__top">{top}</p>'
        '<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img"'
        ' aria-label="{title}: {values}">{shapes}</svg>'
        '<div class="chart__days" aria-hidden="true"><span>{a}</span><span>{b}</span>'
        "<span>{c}</span></div>"
        '<figcaption><ul class="key"><li>{received}</li><li class="in">{sent}</li></ul>'
        "</figcaption></figure>"
    ).format(
        top=i18n.size(highest),
        width=_WIDTH,
        height=_HEIGHT,
        title=title,
        values=values,
        shapes=Markup("".join(shapes)),  # noqa: S704 - numbers and constant class names
        a=shown[0],
        b=shown[1],
        c=shown[2],
        received=received,
        sent=sent,
    )


def line(values: Sequence[float], label: str) -> Markup:
    """A line without axes: recent values of one metric."""
    if len(values) < 2:
        return Markup()
    highest = max(values) or 1
    points = [
        (index / (len(values) - 1) * 200, 38 - value / highest * 34)
        for index, value in enumerate(values)
    ]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Markup(
        '<svg class="spark" viewBox="0 0 200 40" role="img" aria-label="{label}"'
        ' preserveAspectRatio="none"><path class="area" d="M0 40L{path}L200 40z"/>'
        '<path class="line" d="M{path}"/></svg>'
    ).format(label=label, path=path)
