from __future__ import annotations

import pytest

from tui.widgets.window import Window

AXIS = (0.0, 1000.0, 1000.0)


def test_all_is_shown_at_first() -> None:
    assert Window().visible(*AXIS) == (0.0, 1000.0)


def test_zoom_without_a_cursor_follows_the_newest_point() -> None:
    window = Window()
    window.zoom(0.5, *AXIS, centre=None)
    assert window.visible(*AXIS) == (500.0, 1000.0)
    assert window.visible(0.0, 1200.0, 1200.0) == (700.0, 1200.0)


def test_zoom_keeps_the_cursor_where_it_is() -> None:
    window = Window()
    window.zoom(0.5, *AXIS, centre=200.0)
    x0, x1 = window.visible(*AXIS)
    assert (200.0 - x0) / (x1 - x0) == pytest.approx(0.2)
    assert x1 - x0 == 500.0


def test_zooming_out_far_enough_shows_all() -> None:
    window = Window()
    for factor in (0.5, 0.5, 2.0, 2.0):
        window.zoom(factor, *AXIS, centre=None)
    assert not window.zoomed


def test_panning_back_to_the_end_follows_again() -> None:
    window = Window()
    window.zoom(0.25, *AXIS, centre=None)
    window.pan(-1.0, *AXIS)
    assert window.visible(*AXIS) == (500.0, 750.0)
    assert window.visible(0.0, 2000.0, 2000.0) == (500.0, 750.0)
    window.pan(-99.0, *AXIS)
    assert window.visible(*AXIS) == (0.0, 250.0)
    window.pan(99.0, *AXIS)
    assert window.right is None
    assert window.visible(*AXIS) == (750.0, 1000.0)


def test_panning_the_whole_does_nothing() -> None:
    window = Window()
    window.pan(0.5, *AXIS)
    assert window.visible(*AXIS) == (0.0, 1000.0)


def test_no_zoom_below_two_steps() -> None:
    window = Window()
    for _ in range(40):
        window.zoom(0.5, *AXIS, centre=None)
    assert window.visible(*AXIS) == (998.0, 1000.0)


def test_a_rollback_behind_the_window_shows_what_is_left() -> None:
    window = Window(span=100.0, right=900.0)
    assert window.visible(0.0, 50.0, 50.0) == (0.0, 50.0)
