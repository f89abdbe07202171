"""Loss curves as a table: how each ends, and how far it is from the first one."""

from __future__ import annotations

import math
from typing import Any

_LAST = 50
"""Steps at the end whose mean loss is told."""
_SMOOTHED = 20
"""Steps that a point of a smoothed curve is the mean of."""


def table(found: dict[str, dict[str, Any]]) -> str:
    """How each curve ends, and how far it is from the first one, in Markdown.

    The curves are smoothed over the steps that both have.
    """
    titles = ("variant", "path", "steps", "first loss", f"last {_LAST}", "greatest difference",
              "of smoothed", "mean difference", "evaluations")  # fmt: skip
    rows = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    base = _by_step(next(iter(found.values())))
    for name, line in found.items():
        losses = _by_step(line)
        apart = [losses[step] - base[step] for step in losses if step in base]
        last = list(losses.values())[-_LAST:]
        mean = sum(apart) / len(apart) if apart else math.nan
        evaluations = ", ".join(f"{step}: {loss:.4f}" for step, loss in line["evaluations"])
        rows.append(
            f"| {name} | {line['path']} | {len(losses)} | {next(iter(losses.values())):.4f} | "
            f"{sum(last) / len(last):.4f} | {greatest(apart):.4f} | "
            f"{greatest(smoothed(apart)):.4f} | {mean:+.4f} | {evaluations} |"
        )
    return "\n".join(rows)


def _by_step(line: dict[str, Any]) -> dict[int, float]:
    return dict(map(tuple, line["losses"]))


def smoothed(values: list[float]) -> list[float]:
    """Means over a window that moves on by one; over all, where they are fewer than a window."""
    size = min(_SMOOTHED, len(values))
    return [sum(values[n : n + size]) / size for n in range(len(values) - size + 1) if size]


def greatest(apart: list[float]) -> float:
    """The greatest distance; NaN where nothing can be compared."""
    return max(map(abs, apart), default=math.nan)
