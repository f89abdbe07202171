"""Loss curves as an SVG picture: one panel of losses, one of what the others differ by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

Curve = Sequence[tuple[int, float]]
"""Points (step, loss), by step."""

_WIDTH, _LEFT, _RIGHT = 860, 62, 16
_UPPER, _LOWER, _GAP, _TOP = 300, 120, 46, 44
_COLOURS = ("#1f5fbf", "#d9730d", "#2e8b57", "#8a4fbf")
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_TICKS = 5


def picture(title: str, curves: dict[str, Curve]) -> str:
    """The SVG document. The first curve is the one that others are subtracted from.

    Losses that are no number (a training that went astray) are left out. Raises ValueError when
    there is no curve, or none has a point.
    """
    curves = {
        name: [(step, loss) for step, loss in curve if math.isfinite(loss)]
        for name, curve in curves.items()
    }
    if not any(curves.values()):
        raise ValueError("there is no point to draw")
    (first, reference), *others = curves.items()
    base = dict(reference)
    differences = {
        name: [(step, loss - base[step]) for step, loss in curve if step in base]
        for name, curve in others
    }
    compared = any(differences.values())
    height = _TOP + _UPPER + (_GAP + _LOWER if compared else 0) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
        *_legend(curves),
        *_panel(curves, _TOP, _UPPER, dict(zip(curves, _COLOURS * len(curves), strict=False))),
    ]
    if compared:
        top = _TOP + _UPPER + _GAP
        colours = dict(zip(curves, _COLOURS * len(curves), strict=False))
        parts.append(f'<text x="{_LEFT}" y="{top - 8}">loss less that of {escape(first)}</text>')
        parts += _panel(differences, top, _LOWER, colours, around_zero=True)
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{height - 8}" text-anchor="end">step</text>')
    return "\n".join([*parts, "</svg>", ""])


def _legend(curves: Iterable[str]) -> list[str]:
    found = []
    for number, name in enumerate(curves):
        x, colour = _LEFT + 150 * number, _COLOURS[number % len(_COLOURS)]
        found.append(f'<path d="M{x} 32h18" stroke="{colour}" stroke-width="2"/>')
        found.append(f'<text x="{x + 24}" y="36">{escape(name)}</text>')
    return found


def _panel(
    curves: dict[str, Curve], top: int, height: int, colours: dict[str, str], *,
    around_zero: bool = False,
) -> list[str]:  # fmt: skip
    points = [point for curve in curves.values() for point in curve]
    last = max(step for step, _ in points)
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    if around_zero:
        high = max(abs(low), abs(high))
        low = -high
    span = (high - low) or 1.0
    inner = _WIDTH - _LEFT - _RIGHT

    def place(step: float, loss: float) -> tuple[float, float]:
        return _LEFT + inner * step / max(1, last), top + height * (1 - (loss - low) / span)

    parts = [f'<rect x="{_LEFT}" y="{top}" width="{inner}" height="{height}" fill="none" '
             'stroke="#c8c8c8"/>']  # fmt: skip
    for number in range(_TICKS):
        value = low + span * number / (_TICKS - 1)
        _, y = place(0, value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{inner}" stroke="#ececec"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
        step = last * number / (_TICKS - 1)
        x, _ = place(step, low)
        middle = "end" if number == _TICKS - 1 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{top + height + 15}" text-anchor="{middle}">'
                     f"{step:.0f}</text>")  # fmt: skip
    for name, curve in curves.items():
        if not curve:
            continue
        path = "L".join("{:.1f} {:.2f}".format(*place(*point)) for point in curve)
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colours[name]}" stroke-width="1.4" '
            'stroke-opacity="0.85"/>'
        )
    return parts
