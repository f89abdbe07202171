from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.glyphs import ASCII, BRAILLE, GLYPHS
from tui.widgets.meter import bar, reading, spark

fractions = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@given(fractions, st.integers(0, 80), st.sampled_from(list(GLYPHS.values())))
def test_a_bar_is_as_wide_as_asked(fraction, width, glyphs) -> None:  # type: ignore[no-untyped-def]
    assert bar(fraction, width, glyphs).cell_length == width


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (0.0, "▁▁▁▁▁▁▁▁▁▁"),
        (0.001, "▇▁▁▁▁▁▁▁▁▁"),
        (0.5, "▇▇▇▇▇▁▁▁▁▁"),
        (0.999, "▇▇▇▇▇▇▇▇▇▁"),
        (1.0, "▇▇▇▇▇▇▇▇▇▇"),
        (7.0, "▇▇▇▇▇▇▇▇▇▇"),
        (-1.0, "▁▁▁▁▁▁▁▁▁▁"),
        (None, "╌╌╌╌╌╌╌╌╌╌"),
        (math.nan, "╌╌╌╌╌╌╌╌╌╌"),
    ],
)
def test_a_bar_never_lies_about_nothing_and_everything(fraction: float, shown: str) -> None:
    assert bar(fraction, 10).plain == shown


def test_a_bar_in_ascii() -> None:
    assert bar(0.3, 10, ASCII).plain == "###......."


def test_a_sparkline_ends_with_the_newest() -> None:
    assert spark([0, 1, 2, 3, 4, 5, 6, 7], 8).plain == "▁▂▃▄▅▆▇█"
    assert spark([0, 7], 5).plain == "   ▁█"
    assert spark([9, 9, 0, 7], 2).plain == "▁█"
    assert spark([50.0, math.nan, 100.0], 3, low=0, high=100).plain == "▅ █"
    assert spark([3.0, 3.0], 2).plain == "▁▁"
    assert spark([], 3).plain == "   "


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=50), st.integers(0, 40))
def test_a_sparkline_is_as_wide_as_asked(values: list[float], width: int) -> None:
    line = spark(values, width)
    assert line.cell_length == width
    assert set(line.plain) <= set(BRAILLE.levels) | {" "}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (6.13, "   6.1 GiB"),
        (79.6, "  79.6 GiB"),
        (12_345.6, "12,346 GiB"),
        (1_234_567.0, "1.2e6 GiB"),
        (None, "     – GiB"),
        (math.nan, "     – GiB"),
        (math.inf, "   inf GiB"),
    ],
)
def test_a_reading_keeps_its_place(value: float, shown: str) -> None:
    assert reading(value, 10, 1, "GiB") == shown.rjust(10)


@given(st.floats(-1e5, 1e5), st.integers(0, 3))
def test_readings_are_as_wide_as_asked(value: float, decimals: int) -> None:
    assert len(reading(value, 12, decimals)) == 12
