"""Fixtures of the benchmarks: their modules, and results of measurements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's own modules, as its processes import them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train
    from peers import asked, context, course, results, shapes, table, tokens

    return {
        "train": train, "table": table, "tokens": tokens, "shapes": shapes, "context": context,
        "course": course, "asked": asked, "results": results,
    }  # fmt: skip


@pytest.fixture
def made() -> Callable[..., dict[str, Any]]:
    """A result of the first row."""

    def result(entrant: str, rate: float, peak: float, **more: Any) -> dict[str, Any]:
        return {
            "row": "8b-2x2048", "entrant": entrant, "outcome": "measured",
            "tokens_per_second": rate, "peak_allocated_gib": peak, "first_step_seconds": 1.0,
            "card": "H100", **more,
        }  # fmt: skip

    return result
