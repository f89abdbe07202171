"""Numbers as a person reads them."""

from __future__ import annotations

import math

import pytest

from tui import numbers


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–:––"), (751, "12:31"), (11_045, "3:04:05"), (183_600, "2d 03h"), (math.inf, "–:––")],
)
def test_clock(seconds: float | None, text: str) -> None:
    assert numbers.clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(2e-4, "2e-4"), (1.706e-4, "1.71e-4"), (0, "0"), (None, "–")]
)
def test_rate(value: float | None, text: str) -> None:
    assert numbers.rate(value) == text


def test_sizes() -> None:
    assert numbers.size(164_000_000) == "164 MB"
    assert numbers.size(6_549_000_000) == "6.5 GB"
    assert numbers.gib(-1) == "–"
    assert numbers.gib(6 * numbers.GIB) == "6.0"
    assert numbers.short(40_400_000) == "40.4M"


def test_a_loss_that_is_no_number_is_said() -> None:
    assert numbers.loss(math.nan) == "nan"
    assert numbers.loss(math.inf) == "inf"
    assert numbers.loss(1.28401) == "1.284"
