"""A chart without a screen: what is shown, where it stands, and the rows of cells it makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tui.glyphs import BRAILLE, GlyphSet
from tui.inert import inert
from tui.widgets.axis import (
    duration,
    log_ticks,
    nice_ticks,
    number,
    roomy,
    step_ticks,
    tick_labels,
    time_ticks,
)
from tui.widgets.canvas import Canvas, dashed, pixels
from tui.widgets.series import Axis, Series, View, bounds_of
from tui.widgets.window import Window

Kind = Literal["train", "eval", "other"]
"""How a curve looks: "train" is smoothed over its dimmed raw self, "eval" is dashed, "other" is a
plain line in a colour of its own."""

MarkKind = Literal["saved", "resumed", "best"]

Run = tuple[str, str]
"""Text and the name of its style ("" for that of the widget)."""

STYLES = (
    *("axis", "train", "raw", "eval", "cursor", "mark", "message"),
    *("other-1", "other-2", "other-3", "other-4"),
)
_OTHERS = 4
_CELLS_A_LABEL = 12  # room of a label on the x axis


@dataclass(frozen=True)
class Curve:
    """A named series and how it is drawn."""

    name: str
    series: Series
    kind: Kind
    style: str


@dataclass(frozen=True)
class Extent:
    """Ends of the x axis and the place of the newest point, in steps or seconds."""

    low: float
    high: float
    tail: float


@dataclass(frozen=True)
class Frame:
    """Where things are, in cells: labels and axis left of `left`, the plot in `width` by `height`
    cells below row `top`."""

    left: int
    top: int
    width: int
    height: int
    view: View
    y_ticks: list[float]
    y_labels: list[str]


@dataclass
class Plot:
    """All that decides what a chart looks like; the fields are described at `LineChart`."""

    curves: dict[str, Curve] = field(default_factory=dict)
    marks: dict[tuple[float, MarkKind], None] = field(default_factory=dict)
    window: Window = field(default_factory=Window)
    cursor: float | None = None
    axis: Axis = "step"
    log_scale: bool = False
    smoothing: float | None = None
    glyphs: GlyphSet = BRAILLE
    planned_steps: int | None = None
    message: str = ""

    def add(self, name: str, series: Series, kind: Kind) -> None:
        """Add a curve, or put another series in the place of the one of this name."""
        style: str = kind
        if kind == "other":
            others = [c.name for c in self.curves.values() if c.kind == "other" and c.name != name]
            style = f"other-{len(others) % _OTHERS + 1}"
        self.curves[name] = Curve(name, series, kind, style)

    def mark(self, step: float, kind: MarkKind) -> None:
        """Add a mark; a new best takes the place of the old."""
        if kind == "best":
            self.marks = {mark: None for mark in self.marks if mark[1] != "best"}
        self.marks[(step, kind)] = None

    def truncate_above(self, step: float) -> None:
        """Forget points and marks above `step`."""
        for curve in self.curves.values():
            curve.series.truncate_above(step)
        self.marks = {mark: None for mark in self.marks if mark[0] <= step}

    # -- moving about --------------------------------------------------------------------------

    def zoom(self, factor: float, extent: Extent) -> None:
        """Show `factor` times as much of the x axis, around the cursor if there is one."""
        self.window.zoom(factor, extent.low, extent.high, extent.tail, self.cursor)

    def pan(self, share: float, extent: Extent) -> None:
        """Move a zoomed view by a share of its width."""
        self.window.pan(share, extent.low, extent.high, extent.tail)

    def move_cursor(self, cells: int, extent: Extent, width: int, height: int) -> None:
        """Move the cursor by cells, or put it on the newest point in view where it is out of it."""
        x0, x1 = self.visible(extent)
        if self.cursor is None or not x0 <= self.cursor <= x1:
            self.cursor = min(x1, extent.tail)
            return
        across = self.frame(extent, width, height).width
        moved = self.cursor + cells * (x1 - x0) / max(1, across - 1)
        self.cursor = min(max(moved, x0), x1)

    def put_cursor(self, x: int, extent: Extent, width: int, height: int) -> None:
        """Put the cursor on a column of the widget, if it is one of the plot."""
        frame = self.frame(extent, width, height)
        share = (x - frame.left) / max(1, frame.width - 1)
        if 0 <= share <= 1:
            self.cursor = frame.view.x0 + share * (frame.view.x1 - frame.view.x0)

    def turn_axis(self, axis: Axis) -> None:
        """Steps or time along x; the cursor stays on its point, the zoom is given up."""
        if axis == self.axis:
            return
        at = self.nearest_step(self.cursor)
        self.axis = axis
        self.window.reset()
        self.cursor = None if at is None else self.x_of_step(at)

    # -- where things are ----------------------------------------------------------------------

    def visible(self, extent: Extent) -> tuple[float, float]:
        """The ends of the stretch of the x axis that is shown."""
        return self.window.visible(extent.low, extent.high, extent.tail)

    def extent(self) -> Extent | None:
        """The x axis, or None while no curve has a point."""
        known = [curve.series for curve in self.curves.values() if len(curve.series)]
        if not known:
            return None
        if self.axis == "time":
            origin = self._origin()
            tail = max(float(series.times[-1]) for series in known) - origin
            return Extent(0.0, tail, tail)
        low = min(float(series.steps[0]) for series in known)
        tail = max(float(series.steps[-1]) for series in known)
        if self.planned_steps is not None:
            return Extent(min(0.0, low), max(float(self.planned_steps), tail), tail)
        return Extent(low, tail, tail)

    def _origin(self) -> float:
        firsts = [float(c.series.times[0]) for c in self.curves.values() if len(c.series)]
        return min(firsts, default=0.0)

    def _value_bounds(self, extent: Extent) -> tuple[float, float] | None:
        x0, x1 = self.visible(extent)
        origin = self._origin()
        return bounds_of(
            curve.series.bounds_between(x0, x1, self.axis, origin, log=self.log_scale)
            for curve in self.curves.values()
        )

    def frame(self, extent: Extent, width: int, height: int) -> Frame:
        """The layout of a widget of `width` by `height` cells."""
        top = 1 if height >= 3 else 0
        rows = max(1, height - top - (2 if height >= 5 else 0))
        x0, x1 = self.visible(extent)
        most = max(2, min(8, rows // 3))
        low, high = self._value_bounds(extent) or (1.0, 10.0)
        y0, y1 = roomy(low, high, most, log=self.log_scale)
        ticks = log_ticks(y0, y1, most) if self.log_scale else nice_ticks(y0, y1, most)
        labels = tick_labels(ticks, log=self.log_scale)
        left = max((len(label) for label in labels), default=0) + 2
        left = left if width - left >= 8 else 0
        view = View(x0, x1, y0, y1, self.axis, self._origin())
        return Frame(left, top, max(1, width - left), rows, view, ticks, labels)

    def _column(self, x: float, frame: Frame) -> int:
        """Cell column of a place on the x axis, counted from the left end of the plot."""
        pixels_across = frame.width * self.glyphs.pixel_columns
        share = (x - frame.view.x0) / ((frame.view.x1 - frame.view.x0) or 1.0)
        return round(share * (pixels_across - 1)) // self.glyphs.pixel_columns

    def _row(self, y: float, frame: Frame) -> int:
        """Cell row of a value, counted from the top of the plot."""
        down = self.glyphs.pixel_rows
        return frame.view.row(y, frame.height * down, log=self.log_scale) // down

    def nearest_step(self, x: float | None) -> float | None:
        """Step of the point nearest to a place on the x axis, over all curves."""
        if x is None:
            return None
        found: list[tuple[float, float]] = []
        for curve in self.curves.values():
            index = curve.series.nearest(x, self.axis, self._origin())
            if index is not None:
                point = curve.series.point(index)
                place = point.step if self.axis == "step" else point.time - self._origin()
                found.append((abs(place - x), point.step))
        return min(found)[1] if found else None

    def x_of_step(self, step: float) -> float | None:
        """Place on the x axis of a step; on the time axis that of the nearest point."""
        if self.axis == "step":
            return step
        found: list[tuple[float, float]] = []
        for curve in self.curves.values():
            index = curve.series.nearest(step)
            if index is not None:
                point = curve.series.point(index)
                found.append((abs(point.step - step), point.time - self._origin()))
        return min(found)[1] if found else None

    # -- drawing -------------------------------------------------------------------------------

    def rows(self, width: int, height: int) -> list[list[Run]]:
        """The picture, as `height` rows of runs; the top row may be shorter or longer than
        `width`, all others fit."""
        if not (width and height):
            return []
        canvas = Canvas(width, height)
        extent = self.extent()
        readout: list[Run] | None = None
        if extent is None:
            self._draw_message(canvas, inert(self.message))
        elif self._value_bounds(extent) is None:
            reason = "no positive value here" if self.log_scale else "no finite value here"
            self._draw_message(canvas, reason)
        else:
            frame = self.frame(extent, width, height)
            self._draw_axes(canvas, frame)
            self._draw_curves(canvas, frame)
            self._draw_marks(canvas, frame)
            readout = self._readout(frame) if frame.top else None
        rows = [canvas.runs(y) for y in range(height)]
        return rows if readout is None else [readout, *rows[1:]]

    def _draw_message(self, canvas: Canvas, text: str) -> None:
        x = max(0, (canvas.width - len(text)) // 2)
        canvas.write(x, canvas.height // 2, text, "message")

    def _draw_axes(self, canvas: Canvas, frame: Frame) -> None:
        glyphs = self.glyphs
        foot = frame.top + frame.height
        if frame.left:
            for y in range(frame.top, foot):
                canvas.write(frame.left - 1, y, glyphs.vertical, "axis")
            for tick, label in zip(frame.y_ticks, frame.y_labels, strict=True):
                y = frame.top + self._row(tick, frame)
                canvas.write(0, y, label.rjust(frame.left - 2) + " " + glyphs.y_tick, "axis")
        if foot >= canvas.height:
            return
        corner = glyphs.corner if frame.left else ""
        start = frame.left - len(corner)
        canvas.write(start, foot, corner + glyphs.horizontal * frame.width, "axis")
        free = 0
        for tick, label in self._x_ticks(frame):
            x = frame.left + self._column(tick, frame)
            canvas.write(x, foot, glyphs.x_tick, "axis")
            at = min(x - len(label) // 2, canvas.width - len(label))
            if at >= free:
                canvas.write(at, foot + 1, label, "axis")
                free = at + len(label) + 2

    def _x_ticks(self, frame: Frame) -> Iterator[tuple[float, str]]:
        most = max(1, frame.width // _CELLS_A_LABEL)
        x0, x1 = frame.view.x0, frame.view.x1
        if self.axis == "time":
            ticks = time_ticks(x0, x1, most)
            return zip(ticks, map(duration, ticks), strict=True)
        ticks = step_ticks(x0, x1, most)
        return zip(ticks, tick_labels(ticks), strict=True)

    def _draw_curves(self, canvas: Canvas, frame: Frame) -> None:
        """What is dim first, then the cursor, then the lines that matter."""
        smoothed = {
            curve.name: self.smoothing
            for curve in self.curves.values()
            if curve.kind == "train" and self.smoothing is not None
        }
        for name in smoothed:
            self._draw_curve(canvas, frame, self.curves[name], None, "raw")
        self._draw_cursor(canvas, frame)
        for curve in self.curves.values():
            self._draw_curve(canvas, frame, curve, smoothed.get(curve.name), curve.style)

    def _draw_curve(
        self, canvas: Canvas, frame: Frame, curve: Curve, alpha: float | None, style: str
    ) -> None:
        across = frame.width * self.glyphs.pixel_columns
        down = frame.height * self.glyphs.pixel_rows
        line = curve.series.project(frame.view, across, down, log=self.log_scale, alpha=alpha)
        if curve.kind == "eval":
            line = dashed(line, self.glyphs)
        masks = self.glyphs.masks(pixels(line, down))
        canvas.paint(frame.left, frame.top, masks, self.glyphs.cells, style)

    def _draw_marks(self, canvas: Canvas, frame: Frame) -> None:
        foot = frame.top + frame.height
        if foot >= canvas.height:
            return
        for step, kind in self.marks:
            x = self.x_of_step(step)
            if x is not None and frame.view.x0 <= x <= frame.view.x1:
                glyph = getattr(self.glyphs, kind)
                canvas.write(frame.left + self._column(x, frame), foot, glyph, "mark")

    def _draw_cursor(self, canvas: Canvas, frame: Frame) -> None:
        if self.cursor is None or not frame.view.x0 <= self.cursor <= frame.view.x1:
            return
        x = frame.left + self._column(self.cursor, frame)
        foot = frame.top + frame.height
        for y in range(frame.top, foot):
            canvas.write(x, y, self.glyphs.cursor, "cursor")
        if foot < canvas.height:
            canvas.write(x, foot, self.glyphs.cursor_foot, "cursor")

    def _readout(self, frame: Frame) -> list[tuple[str, str]]:
        """The top row: what each line is, and its value at the cursor or its newest."""
        runs = [(" " * frame.left, "axis")]
        at = self.cursor
        if at is not None:
            where = duration(at) if self.axis == "time" else f"{self.nearest_step(at):,.0f}"
            runs.append((f"{self.axis} {where}  ", "cursor"))
        for curve in self.curves.values():
            runs.extend(self._reading(curve, at))
        return runs

    def _reading(self, curve: Curve, at: float | None) -> Iterator[tuple[str, str]]:
        sample = self.glyphs.dashed if curve.kind == "eval" else self.glyphs.solid
        yield f"{sample} {inert(curve.name)} ", curve.style
        series = curve.series
        index = len(series) - 1 if at is None else series.nearest(at, self.axis, self._origin())
        if index is None or index < 0:
            yield "–".ljust(9), "axis"
            return
        value = series.point(index).value
        smooth = self.smoothing if curve.kind == "train" else None
        shown = value if smooth is None else float(series.ema(smooth)[index])
        yield number(shown).ljust(7 if smooth is None else 6), "mark"
        yield (f"raw {number(value).ljust(9)}" if smooth is not None else "  "), "axis"
