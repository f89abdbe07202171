from __future__ import annotations

import math

import numpy as np
import pytest
from textual.app import App, ComposeResult

from tui.glyphs import ASCII, BLOCK, BRAILLE, GlyphSet
from tui.widgets.line_chart import LineChart
from tui.widgets.series import Series

START = 1_700_000_000.0


def curves(points: int = 500) -> tuple[Series, Series]:
    noise = np.random.default_rng(1).normal(0, 0.1, points)
    steps = np.arange(1, points + 1)
    train, evaluation = Series(), Series()
    train.extend(steps, START + 2 * steps, 1 + 2 * np.exp(-steps / 100) + noise)
    every = steps[49::50]
    evaluation.extend(every, START + 2 * every, 1.2 + 2 * np.exp(-every / 120))
    return train, evaluation


class ChartApp(App[None]):
    def __init__(self, *, filled: bool = True) -> None:
        super().__init__()
        self.captions: list[str] = []
        self.filled = filled

    def compose(self) -> ComposeResult:
        yield LineChart()

    def on_mount(self) -> None:
        chart = self.chart
        chart.focus()
        if self.filled:
            train, evaluation = curves()
            chart.set_series("train", train, "train")
            chart.set_series("eval", evaluation, "eval")
            chart.mark(200, "saved")
            chart.mark(300, "resumed")
            chart.mark(400, "best")
            chart.refresh_data()

    def on_line_chart_caption_changed(self, message: LineChart.CaptionChanged) -> None:
        self.captions.append(message.caption)

    @property
    def chart(self) -> LineChart:
        return self.query_one(LineChart)


def picture(chart: LineChart) -> list[str]:
    """The rows on screen; every strip must be as wide as the widget."""
    strips = [chart.render_line(y) for y in range(chart.size.height)]
    assert {strip.cell_length for strip in strips} <= {chart.size.width}
    assert all(
        strip.cell_length == sum(segment.cell_length for segment in strip) for strip in strips
    )
    return [strip.text for strip in strips]


@pytest.mark.parametrize("glyphs", [BRAILLE, BLOCK, ASCII], ids=lambda glyphs: glyphs.name)
@pytest.mark.parametrize("size", [(80, 24), (160, 48), (20, 5), (200, 60)])
async def test_it_fits_every_size(size: tuple[int, int], glyphs: GlyphSet) -> None:
    app = ChartApp()
    async with app.run_test(size=size) as pilot:
        app.chart.glyphs = glyphs
        await pilot.pause()
        rows = picture(app.chart)
        assert len(rows) == size[1]
        assert "train" in rows[0]
        drawn = set("".join(rows[1:-2])) & set(glyphs.cells[1:])
        assert drawn


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 3), (9, 4), (12, 7)])
async def test_tiny_sizes_do_not_break(size: tuple[int, int]) -> None:
    app = ChartApp()
    async with app.run_test(size=size) as pilot:
        await pilot.press("left", "l", "a", "plus", "comma")
        assert len(picture(app.chart)) == size[1]


async def test_axes_marks_and_legend() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)):
        rows = picture(app.chart)
        assert [mark for mark in rows[-2] if mark in "▲↻◆"] == ["▲", "↻", "◆"]
        assert rows[-1].split() == ["100", "200", "300", "400", "500"]
        assert rows[-2].index("▲") - 1 == rows[-1].index("200")
        assert "── train" in rows[0]
        assert "╌╌ eval" in rows[0]
        assert sum("┤" in row for row in rows) >= 3


async def test_nothing_yet_says_so() -> None:
    app = ChartApp(filled=False)
    async with app.run_test(size=(40, 10)) as pilot:
        assert "no steps yet" in "".join(picture(app.chart))
        app.chart.message = "the model is \x1b[31mloading"
        await pilot.press("left", "plus", "comma", "l", "a", "0")
        shown = "".join(picture(app.chart))
        assert "the model is ␛[31mloading" in shown
        app.chart.set_series("train", Series(), "train")
        app.chart.append("train", 1, START, 2.5)
        app.chart.refresh_data()
        await pilot.pause()
        assert "2.500" in picture(app.chart)[0]


async def test_only_values_that_cannot_be_shown_say_so() -> None:
    app = ChartApp(filled=False)
    async with app.run_test(size=(60, 10)) as pilot:
        app.chart.set_series("train", Series(), "train")
        app.chart.append("train", 1, START, math.nan)
        app.chart.refresh_data()
        assert "no finite value here" in "".join(picture(app.chart))
        app.chart.append("train", 2, START, -1.0)
        await pilot.press("l")
        assert "no positive value here" in "".join(picture(app.chart))


async def test_smoothing_goes_round_and_off() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        captions = []
        for _ in range(4):
            captions.append(app.chart.caption)
            await pilot.press("e")
        assert captions == [
            "loss · step axis · EMA 0.9",
            "loss · step axis · EMA 0.99",
            "loss · step axis · EMA 0.999",
            "loss · step axis",
        ]
        assert app.chart.smoothing == 0.9
        assert app.captions[-1] == captions[0]


async def test_raw_is_dim_behind_the_smoothed_line() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        raw = app.chart.get_component_rich_style("line-chart--raw")

        def dim_cells() -> int:
            strips = [app.chart.render_line(y) for y in range(1, 22)]
            return sum(s.style == raw and bool(s.text.strip()) for strip in strips for s in strip)

        assert dim_cells() > 0
        await pilot.press("e", "e", "e")
        assert app.chart.smoothing is None
        assert dim_cells() == 0


async def test_raw_differs_where_the_terminal_has_sixteen_colours() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.theme = "ansi-dark"
        await pilot.pause()
        assert app.chart.get_component_rich_style("line-chart--raw").dim
        assert not app.chart.get_component_rich_style("line-chart--train").dim


async def test_log_scale_and_time_axis() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("l", "a")
        assert app.chart.log_scale
        assert app.chart.axis == "time"
        assert app.chart.caption == "loss · time axis · EMA 0.9 · log"
        rows = picture(app.chart)
        assert rows[-1].split()[-1] == "15:00"
        assert [mark for mark in rows[-2] if mark in "▲↻◆"] == ["▲", "↻", "◆"]


async def test_the_cursor_reads_every_series() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("e", "e", "e", "left")
        chart = app.chart
        assert chart.cursor == 500
        await pilot.press("left", "shift+left", "left_square_bracket")
        assert chart.cursor is not None
        step = round(chart.cursor)
        train, evaluation = curves()
        row = picture(chart)[0]
        assert f"step {step}" in row
        assert f"train {train.values[step - 1]:.3f}" in row
        at = evaluation.nearest(step)
        assert at is not None
        assert f"eval {evaluation.values[at]:.3f}" in row
        columns = {line.index("│", 10) for line in picture(chart)[1:-2] if "│" in line[10:]}
        assert len(columns) == 1
        assert picture(chart)[-2][columns.pop()] == "┴"
        await pilot.press("a")
        assert chart.cursor == pytest.approx(2 * (step - 1))
        await pilot.press("0")
        assert chart.cursor is None


async def test_zoom_pan_and_follow() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        chart = app.chart
        await pilot.press("plus", "plus")
        assert chart.caption.endswith("zoomed, follows")
        labels = picture(chart)[-1].split()
        assert int(labels[0]) >= 375
        assert labels[-1] == "500"
        for step in range(501, 601):
            chart.append("train", step, START + 2 * step, 1.0)
        chart.refresh_data()
        assert picture(chart)[-1].split()[-1] == "600"
        await pilot.press("comma")
        assert chart.caption.endswith("zoomed")
        before = picture(chart)[-1]
        chart.append("train", 601, START + 1300, 1.0)
        chart.refresh_data()
        assert picture(chart)[-1] == before
        await pilot.press("full_stop", "full_stop")
        assert chart.caption.endswith("follows")
        await pilot.press("minus", "minus", "minus", "minus")
        assert "zoomed" not in chart.caption


async def test_planned_steps_fix_the_axis() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.chart.planned_steps = 1000
        await pilot.pause()
        rows = picture(app.chart)
        assert rows[-1].split()[0] == "0"
        assert rows[-1].split()[-1] == "1,000"
        assert all(not row[50:].strip() for row in rows[1:-2])


async def test_a_rollback_takes_points_and_marks_back() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)):
        app.chart.truncate_above(300)
        app.chart.refresh_data()
        rows = picture(app.chart)
        assert rows[-1].split()[-1] == "300"
        assert "◆" not in rows[-2]


async def test_there_is_one_best() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)):
        app.chart.mark(450, "best")
        app.chart.refresh_data()
        assert picture(app.chart)[-2].count("◆") == 1


async def test_a_gap_stays_open_on_screen() -> None:
    app = ChartApp(filled=False)
    async with app.run_test(size=(60, 12)):
        gap = Series()
        gap.extend(range(6), [START + i for i in range(6)], [1, 1, math.nan, math.nan, 1, 1])
        app.chart.set_series("train", gap, "train")
        app.chart.refresh_data()
        row = next(row for row in picture(app.chart)[1:-2] if set(row) & set(BRAILLE.cells[1:]))
        plot = row[row.index("┤" if "┤" in row else "│") + 1 :]
        left, right = len(plot) // 5, len(plot) - len(plot) // 5
        assert " " not in plot[: left - 1]
        assert not plot[left + 1 : right - 1].strip()
        assert " " not in plot[right + 1 :]


async def test_it_is_drawn_once_a_change_and_only_when_asked() -> None:
    app = ChartApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        chart, drawn = app.chart, []
        rows = chart._plot.rows
        chart._plot.rows = lambda *size: (drawn.append(size), rows(*size))[1]  # type: ignore[method-assign]
        chart.refresh_data()
        await pilot.pause()
        assert drawn == []
        for step in range(501, 551):
            chart.append("train", step, START + 2 * step, 1.0)
        await pilot.pause()
        assert drawn == []
        chart.refresh_data()
        await pilot.pause()
        assert len(drawn) == 1


async def test_a_full_repaint_is_small() -> None:
    app = ChartApp()
    async with app.run_test(size=(120, 30)):
        strips = [app.chart.render_line(y) for y in range(30)]
        sent = sum(len(strip.render(app.console).encode()) for strip in strips)
        assert sent < 10 * 1024


async def test_every_key_can_be_remapped() -> None:
    ids = [binding.id for binding in LineChart.BINDINGS]  # type: ignore[union-attr]
    assert None not in ids
    assert len(ids) == len(set(ids))


async def test_other_curves_have_colours_of_their_own() -> None:
    app = ChartApp(filled=False)
    async with app.run_test(size=(80, 24)):
        for name in ("one", "two", "three"):
            app.chart.set_series(name, curves()[0])
        assert [c.style for c in app.chart._plot.curves.values()] == [
            "other-1",
            "other-2",
            "other-3",
        ]
        app.chart.clear()
        app.chart.refresh_data()
        assert "no steps yet" in "".join(picture(app.chart))
