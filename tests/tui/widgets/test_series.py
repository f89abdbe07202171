from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tui.widgets.series import Series, View, bounds_of

NAN = math.nan


def series_of(values: list[float], steps: list[float] | None = None) -> Series:
    series = Series()
    xs = list(range(len(values))) if steps is None else steps
    series.extend(xs, [1000.0 + 2 * x for x in xs], values)
    return series


# -- growing ------------------------------------------------------------------------------------


def test_points_come_back_in_order_however_they_were_added() -> None:
    one, many = Series(), Series()
    for step in range(1000):
        one.append(step, 10.0 + step, step / 2)
    many.extend(range(1000), np.arange(1000) + 10.0, np.arange(1000) / 2)
    for series in (one, many):
        assert len(series) == 1000
        assert series.steps.tolist() == list(range(1000))
        assert series.times[-1] == 1009.0
        assert series.point(999) == (999.0, 1009.0, 499.5)
    assert one.bounds == many.bounds == (0.0, 499.5)


def test_appending_does_not_move_memory_each_time() -> None:
    series = Series()
    moves, data = 0, series._data
    for step in range(10_000):
        series.append(step, step, 1.0)
        if series._data is not data:
            moves, data = moves + 1, series._data
    assert moves <= 6


def test_values_that_are_not_finite_are_gaps_and_no_bounds() -> None:
    series = series_of([1.0, NAN, 3.0, math.inf, 2.0, -math.inf])
    assert series.bounds == (1.0, 3.0)
    assert np.isnan(series.values).tolist() == [False, True, False, True, False, True]


def test_nothing_known_has_no_bounds() -> None:
    assert Series().bounds is None
    assert series_of([NAN, NAN]).bounds is None
    assert Series().nearest(3.0) is None
    assert bounds_of([None, None]) is None
    assert bounds_of([None, (1.0, 2.0), (0.5, 1.5)]) == (0.5, 2.0)


@pytest.mark.parametrize(
    ("steps", "times", "message"),
    [
        ([2, 1], [0, 1], "steps go down"),
        ([1, NAN], [0, 1], "not a finite number"),
        ([1, 2], [0, math.inf], "not a finite number"),
        ([1], [0, 1], "1 steps, 2 times"),
    ],
)
def test_bad_points_are_refused(steps: list[float], times: list[float], message: str) -> None:
    series = Series()
    with pytest.raises(ValueError, match=message):
        series.extend(steps, times, [1.0, 1.0])
    assert len(series) == 0


@pytest.mark.parametrize(("step", "time"), [(1, 0.0), (NAN, 0.0), (3, math.inf)])
def test_a_bad_point_is_refused(step: float, time: float) -> None:
    series = series_of([1.0, 1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"truncate_above|not a finite number"):
        series.append(step, time, 1.0)
    assert len(series) == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 9), st.floats()), max_size=30))
def test_one_by_one_equals_all_at_once(points: list[tuple[int, float, float]]) -> None:
    points.sort(key=lambda point: point[0])
    one, many = Series(), Series()
    for point in points:
        one.append(*point)
    many.extend(*(zip(*points, strict=True) if points else ([], [], [])))
    np.testing.assert_array_equal(one.values, many.values)
    np.testing.assert_array_equal(one.times, many.times)
    assert one.bounds == many.bounds


def test_a_step_back_needs_truncate_first() -> None:
    series = series_of([5.0, 4.0, 9.0, 2.0])
    with pytest.raises(ValueError, match="truncate_above"):
        series.append(1, 2000.0, 1.0)
    series.truncate_above(1)
    assert len(series) == 2
    assert series.bounds == (4.0, 5.0)
    series.append(2, 2000.0, 3.0)
    assert series.values.tolist() == [5.0, 4.0, 3.0]
    series.truncate_above(99)
    assert len(series) == 3


def test_a_clock_that_was_set_back_stands_still() -> None:
    series = Series()
    series.extend([1, 2, 3], [10.0, 5.0, 12.0], [1.0, 1.0, 1.0])
    series.append(4, 11.0, 1.0)
    assert series.times.tolist() == [10.0, 10.0, 12.0, 12.0]


# -- smoothing ----------------------------------------------------------------------------------


def plain_ema(values: list[float], alpha: float) -> list[float]:
    smooth, total, weight = [], 0.0, 0.0
    for value in values:
        if not math.isfinite(value):
            smooth.append(NAN)
            continue
        total = alpha * total + (1 - alpha) * value
        weight = alpha * weight + (1 - alpha)
        smooth.append(total / weight)
    return smooth


numbers = st.one_of(st.floats(-1e6, 1e6), st.just(NAN), st.just(math.inf))


@given(st.lists(numbers, max_size=80), st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.9999]))
def test_ema_equals_the_plain_recursion(values: list[float], alpha: float) -> None:
    np.testing.assert_allclose(
        series_of(values).ema(alpha), plain_ema(values, alpha), rtol=1e-9, atol=1e-6
    )


@given(st.lists(numbers, min_size=1, max_size=60), st.data())
def test_ema_goes_on_where_it_stopped_and_after_a_rollback(
    values: list[float], data: st.DataObject
) -> None:
    series = Series()
    for step, value in enumerate(values):
        series.append(step, step, value)
        if data.draw(st.booleans()):
            series.ema(0.9)
    keep = data.draw(st.integers(0, len(values) - 1))
    series.truncate_above(keep)
    more = [1.0, 2.0, NAN, 4.0]
    series.extend(range(keep + 1, keep + 5), [1e6] * 4, more)
    expected = plain_ema(values[: keep + 1] + more, 0.9)
    np.testing.assert_allclose(series.ema(0.9), expected, rtol=1e-7, atol=1e-4)


def test_ema_over_many_blocks_equals_the_plain_recursion() -> None:
    values = np.random.default_rng(1).normal(2, 1, 150_000)
    series = Series()
    series.extend(np.arange(values.size), np.arange(values.size), values)
    np.testing.assert_allclose(series.ema(0.99), plain_ema(values.tolist(), 0.99), rtol=1e-9)


def test_ema_smooths_each_point_once() -> None:
    series = series_of([1.0] * 500)
    series.ema(0.9)
    asked: list[int] = []
    ema = series._ema
    assert ema is not None
    original = ema._extend
    ema._extend = lambda block: (asked.append(block.size), original(block))[1]  # type: ignore[method-assign]
    series.ema(0.9)
    series.append(500, 5000.0, 1.0)
    series.ema(0.9)
    assert asked == [1]


@pytest.mark.parametrize("alpha", [-0.1, 1.0, NAN])
def test_ema_refuses_a_weight_that_is_none(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        Series().ema(alpha)


# -- looking up ---------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.floats(-10, 60))
def test_nearest_is_nearest(steps: list[int], x: float) -> None:
    steps.sort()
    series = series_of([0.0] * len(steps), [float(step) for step in steps])
    found = series.nearest(x)
    assert found is not None
    assert abs(steps[found] - x) == min(abs(step - x) for step in steps)
    on_time = series.nearest(2 * x, "time", 1000.0)
    assert on_time is not None
    assert abs(steps[on_time] - x) == pytest.approx(min(abs(step - x) for step in steps))


def test_bounds_between_look_only_there() -> None:
    series = series_of([9.0, 1.0, NAN, -2.0, 4.0])
    assert series.bounds_between(1, 2) == (1.0, 1.0)
    assert series.bounds_between(2, 2) is None
    assert series.bounds_between(0, 4) == (-2.0, 9.0)
    assert series.bounds_between(0, 4, log=True) == (1.0, 9.0)
    assert series.bounds_between(3, 3, log=True) is None
    assert series.bounds_between(6, 8, "time", 1000.0) == (-2.0, 4.0)


# -- projection ---------------------------------------------------------------------------------


def brute_force(
    steps: list[float], values: list[float], view: View, width: int, height: int, log: bool
) -> list[tuple[int, int]]:
    """The same picture, point by point and column by column."""
    pixel = (view.x1 - view.x0) / max(1, width - 1) or 1.0
    edges = [view.x0 + (column - 0.5) * pixel for column in range(width + 1)]

    def shown(value: float) -> float:
        if log:
            return math.log10(value) if value > 0 else NAN
        return value

    def crossing(edge: int) -> float:
        before = [i for i, x in enumerate(steps) if x < edges[edge]]
        after = [i for i, x in enumerate(steps) if x >= edges[edge]]
        if not before or not after:
            return NAN
        left, right = before[-1], after[0]
        c0 = math.floor((steps[left] - edges[0]) / pixel)
        c1 = math.floor((steps[right] - edges[0]) / pixel)
        share = min(1.0, max(0.0, (edge - 0.5 - c0) / max(1, c1 - c0)))
        return shown(values[left]) + (shown(values[right]) - shown(values[left])) * share

    y0, y1 = (math.log10(view.y0), math.log10(view.y1)) if log else (view.y0, view.y1)
    scale = (height - 1) / (y1 - y0) if y1 > y0 else 0.0
    rows = []
    for column in range(width):
        here = [
            shown(v)
            for x, v in zip(steps, values, strict=True)
            if edges[column] <= x < edges[column + 1]
        ]
        here = [v for v in (*here, crossing(column), crossing(column + 1)) if not math.isnan(v)]
        if not here:
            rows.append((-1, -1))
            continue
        top, bottom = round((y1 - max(here)) * scale), round((y1 - min(here)) * scale)
        if bottom < 0 or top > height - 1:
            rows.append((-1, -1))
        else:
            rows.append((max(0, top), min(height - 1, bottom)))
    return rows


@given(
    points=st.lists(
        st.tuples(st.integers(0, 40), st.one_of(st.integers(-5, 20).map(float), st.just(NAN))),
        max_size=40,
    ),
    x=st.tuples(st.integers(-5, 45), st.integers(0, 50)),
    y=st.tuples(st.integers(-5, 10), st.integers(1, 20)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 20)),
    log=st.booleans(),
)
@example(points=[(3, 1.0)], x=(3, 0), y=(0, 2), size=(10, 8), log=False)
def test_projection_equals_brute_force(
    points: list[tuple[int, float]],
    x: tuple[int, int],
    y: tuple[int, int],
    size: tuple[int, int],
    log: bool,
) -> None:
    points.sort(key=lambda point: point[0])
    steps, values = [float(p[0]) for p in points], [p[1] for p in points]
    low = max(1, y[0]) if log else y[0]
    view = View(float(x[0]), float(x[0] + x[1]), float(low), float(low + y[1]))
    top, bottom = series_of(values, steps).project(view, *size, log=log)
    expected = brute_force(steps, values, view, *size, log)
    assert list(zip(top.tolist(), bottom.tolist(), strict=True)) == expected


def test_a_single_spike_among_a_hundred_thousand_is_seen() -> None:
    values = np.ones(100_000)
    values[61_803] = 50.0
    series = Series()
    series.extend(np.arange(values.size), np.arange(values.size), values)
    top, _ = series.project(View(0, 99_999, 0, 50), 200, 100)
    assert top.min() == 0
    assert np.count_nonzero(top == 0) == 1


def test_the_line_is_whole_where_there_are_fewer_points_than_pixels() -> None:
    top, bottom = series_of([0.0, 10.0]).project(View(0, 1, 0, 10), 21, 11)
    assert (top >= 0).all()
    assert (top[1:] <= bottom[:-1] + 1).all()
    assert (bottom[1:] >= top[:-1] - 1).all()


def test_a_gap_is_not_joined_over() -> None:
    series = series_of([1.0, 1.0, NAN, NAN, 1.0, 1.0])
    top, _ = series.project(View(0, 5, 0, 2), 51, 11)
    assert (top[:11] >= 0).all()
    assert (top[11:40] == -1).all()
    assert (top[40:] >= 0).all()


def test_a_point_alone_between_gaps_is_seen() -> None:
    top, _ = series_of([NAN, 1.0, NAN]).project(View(0, 2, 0, 2), 21, 11)
    assert np.flatnonzero(top >= 0).tolist() == [10]


def test_log_treats_what_is_not_positive_as_a_gap() -> None:
    top, _ = series_of([1.0, 0.0, 100.0]).project(View(0, 2, 1, 100), 21, 11, log=True)
    assert top[0] == 10
    assert (top[1:20] == -1).all()
    assert top[20] == 0


def test_lines_run_to_the_edge_of_a_zoomed_view() -> None:
    top, _ = series_of([0.0, 10.0], [0.0, 100.0]).project(View(40, 60, 0, 10), 20, 20)
    assert (top >= 0).all()


def test_the_time_axis_counts_from_its_origin() -> None:
    series = series_of([0.0, 1.0, 2.0])
    by_step = series.project(View(0, 2, 0, 2), 9, 9)
    by_time = series.project(View(0, 4, 0, 2, "time", 1000.0), 9, 9)
    assert by_step.top.tolist() == by_time.top.tolist()


def test_nothing_is_drawn_of_nothing() -> None:
    top, bottom = Series().project(View(0, 1, 0, 1), 5, 5)
    assert top.tolist() == bottom.tolist() == [-1] * 5
