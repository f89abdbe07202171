from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.widgets.axis import (
    duration,
    log_ticks,
    nice_step,
    nice_ticks,
    number,
    step_ticks,
    tick_labels,
    time_ticks,
)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 20))
def test_nice_ticks_are_few_round_and_inside(low: float, span: float, most: int) -> None:
    high = low + span
    step = nice_step(high - low, most)
    ticks = nice_ticks(low, high, most)
    assert len(ticks) <= most + 1
    # A narrow span far from zero: a tick cannot be nearer to its place than floats are apart.
    slack = step * 1e-6 + 4 * math.ulp(max(abs(low), abs(high)))
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5)) < 1e-6


def test_ticks_of_a_loss() -> None:
    assert nice_ticks(0.93, 2.84, 5) == pytest.approx([1.0, 1.5, 2.0, 2.5])
    assert nice_step(0.0, 5) == 1.0
    assert nice_step(math.inf, 5) == 1.0


def test_steps_are_whole() -> None:
    assert step_ticks(0, 3, 10) == [0, 1, 2, 3]
    assert step_ticks(0, 1000, 5) == [0, 200, 400, 600, 800, 1000]


def test_time_ticks_stand_on_minutes_hours_and_days() -> None:
    assert time_ticks(0, 100, 4) == [0, 30, 60, 90]
    assert time_ticks(0, 3600, 4) == [0, 900, 1800, 2700, 3600]
    assert [tick / 86400 for tick in time_ticks(0, 86400 * 90, 5)] == [0, 20, 40, 60, 80]


def test_log_ticks() -> None:
    assert log_ticks(1e-5, 1.0, 6) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert log_ticks(0.9, 11, 5) == pytest.approx([1, 2, 5, 10])
    assert log_ticks(1.1, 1.9, 4) == pytest.approx([1.2, 1.4, 1.6, 1.8])
    assert len(log_ticks(1e-30, 1e30, 6)) <= 6


def test_labels_of_one_axis_have_the_same_decimals() -> None:
    assert tick_labels([1.0, 1.5, 2.0]) == ["1.0", "1.5", "2.0"]
    assert tick_labels([0.0, 200.0, 1000.0]) == ["0", "200", "1,000"]
    assert tick_labels([0.0, 5e-5, 1e-4, 1.5e-4]) == ["0", "5.0e-5", "1.0e-4", "1.5e-4"]
    assert tick_labels([]) == []
    assert tick_labels([1e-4, 0.01, 1, 1000], log=True) == ["1e-4", "0.01", "1", "1,000"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.2844, "1.284"),
        (0.41239, "0.412"),
        (12.3456, "12.35"),
        (430.0, "430.0"),
        (98_765.0, "98765"),
        (2e-4, "2.00e-4"),
        (0.0, "0.000"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_stay_short(value: float) -> None:
    assert len(number(value)) <= 10


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (65.4, "1:05"), (3723, "1:02:03"), (183600, "2d 03:00"), (-5, "-0:05")],
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
