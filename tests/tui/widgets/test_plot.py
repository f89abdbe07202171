from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.glyphs import GLYPHS
from tui.widgets.axis import log_ticks, nice_ticks, roomy
from tui.widgets.plot import Plot
from tui.widgets.series import Series

anything = st.floats(allow_nan=True, allow_infinity=True)
times = st.floats(-1e12, 1e12)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 10**9), times, anything), max_size=20),
    size=st.tuples(st.integers(0, 60), st.integers(0, 20)),
    glyphs=st.sampled_from(list(GLYPHS.values())),
    log=st.booleans(),
    smoothing=st.sampled_from([None, 0.9]),
    planned=st.sampled_from([None, 0, 1000]),
    moves=st.lists(
        st.one_of(
            st.tuples(st.just("zoom"), st.sampled_from([0.5, 2.0])),
            st.tuples(st.just("pan"), st.sampled_from([-0.25, 0.25, 9.0])),
            st.tuples(st.just("cursor"), st.integers(-12, 12)),
            st.tuples(st.just("click"), st.integers(0, 60)),
            st.tuples(st.just("axis"), st.sampled_from(["step", "time"])),
            st.tuples(st.just("back"), st.integers(0, 10**9)),
        ),
        max_size=8,
    ),
)
def test_no_data_and_no_key_breaks_the_picture(
    values,
    size,
    glyphs,
    log,
    smoothing,
    planned,
    moves,  # type: ignore[no-untyped-def]
) -> None:
    plot = Plot(log_scale=log, smoothing=smoothing, glyphs=glyphs, planned_steps=planned)
    values.sort(key=lambda point: point[0])
    for name, kind in (("train", "train"), ("eval", "eval"), ("한국 \x1b[31m", "other")):
        series = Series()
        if values:
            series.extend(*zip(*values, strict=True))
        plot.add(name, series, kind)
    for step, _, _ in values[::3]:
        plot.mark(step, "saved")
    for move, amount in moves:
        extent = plot.extent()
        if extent is None:
            break
        if move == "zoom":
            plot.zoom(amount, extent)
        elif move == "pan":
            plot.pan(amount, extent)
        elif move == "cursor":
            plot.move_cursor(amount, extent, *size)
        elif move == "click":
            plot.put_cursor(amount, extent, *size)
        elif move == "axis":
            plot.turn_axis(amount)
        else:
            plot.truncate_above(amount)
    rows = plot.rows(*size)
    assert len(rows) == (size[1] if size[0] else 0)
    top = 1 if rows and any("train" in text for text, _ in rows[0]) else 0
    for row in rows[top:]:
        assert cell_len("".join(text for text, _ in row)) == size[0]
    assert "\x1b" not in "".join(text for row in rows for text, _ in row)


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, finite, st.integers(1, 12))
def test_roomy_bounds_hold_both_values(one: float, other: float, most: int) -> None:
    low, high = min(one, other), max(one, other)
    y0, y1 = roomy(low, high, most)
    assert y0 <= low
    assert high <= y1
    assert y0 < y1 or not math.isfinite(high - low)
    assert len(nice_ticks(y0, y1, most)) < 1000


positive = st.floats(min_value=1e-270, max_value=1e270)


@given(positive, positive, st.integers(1, 12))
def test_roomy_log_bounds_hold_both_values(one: float, other: float, most: int) -> None:
    low, high = min(one, other), max(one, other)
    y0, y1 = roomy(low, high, most, log=True)
    assert 0 < y0 < low
    assert high < y1 < math.inf
    assert all(tick > 0 for tick in log_ticks(y0, y1, most))


def test_axis_stands_still_while_values_move_a_little() -> None:
    assert roomy(0.93, 2.81, 6) == roomy(0.94, 2.84, 6)
