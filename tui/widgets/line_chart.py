"""Live curves in a terminal: a Line API widget over `Series`.

Drawing costs the same for a hundred points and a million, and happens only when `refresh_data` is
called with something new or a key changes what is shown.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from tui.glyphs import BRAILLE, GlyphSet
from tui.widgets.plot import STYLES, Kind, MarkKind, Plot, Run
from tui.widgets.series import Axis, Series

__all__ = ["Kind", "LineChart", "MarkKind"]

SMOOTHINGS: tuple[float | None, ...] = (0.9, 0.99, 0.999, None)
"""What the smoothing key goes through: the weight of the past, None for off."""


class LineChart(Widget, can_focus=True):
    """Several curves over steps or time, with marks on the x axis and a cursor that reads all."""

    ALLOW_SELECT = False

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line-chart--{style}" for style in STYLES}

    DEFAULT_CSS = """
    LineChart {
        height: 1fr;
        min-height: 1;
        .line-chart--axis { color: $foreground 45%; }
        .line-chart--train { color: $accent; }
        .line-chart--raw { color: $accent 32%; }
        .line-chart--eval { color: $text-secondary; }
        .line-chart--other-1 { color: $accent; }
        .line-chart--other-2 { color: $text-secondary; }
        .line-chart--other-3 { color: $success; }
        .line-chart--other-4 { color: $warning; }
        .line-chart--cursor { color: $foreground 70%; }
        .line-chart--mark { color: $foreground; }
        .line-chart--message { color: $foreground 60%; }
        &:ansi .line-chart--raw, &:ansi .line-chart--axis { text-style: dim; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "cycle_smoothing", "EMA", id="chart.smoothing"),
        Binding("l", "toggle_log", "Log scale", id="chart.log"),
        Binding("a", "toggle_axis", "Step/time axis", id="chart.axis"),
        Binding("plus,equals_sign", "zoom(0.5)", "Zoom in", id="chart.zoom_in", show=False),
        Binding("minus", "zoom(2.0)", "Zoom out", id="chart.zoom_out", show=False),
        Binding("comma", "pan(-0.25)", "Pan left", id="chart.pan_left", show=False),
        Binding("full_stop", "pan(0.25)", "Pan right", id="chart.pan_right", show=False),
        Binding("left", "move_cursor(-1)", "Cursor left", id="chart.cursor_left", show=False),
        Binding("right", "move_cursor(1)", "Cursor right", id="chart.cursor_right", show=False),
        Binding(
            "left_square_bracket,shift+left",
            "move_cursor(-10)",
            "Cursor far left",
            id="chart.cursor_far_left",
            show=False,
        ),
        Binding(
            "right_square_bracket,shift+right",
            "move_cursor(10)",
            "Cursor far right",
            id="chart.cursor_far_right",
            show=False,
        ),
        Binding("0", "reset", "Show all", id="chart.reset", show=False),
    ]

    log_scale: reactive[bool] = reactive(False)
    """Logarithmic y axis; values that are not positive are gaps then."""

    axis: reactive[Axis] = reactive[Axis]("step")
    """What runs along x: "step", or "time" since the first point of all curves."""

    smoothing: reactive[float | None] = reactive[float | None](SMOOTHINGS[0])
    """Weight of the past in the moving average of "train" curves; None draws them as they are."""

    glyphs: reactive[GlyphSet] = reactive(BRAILLE)
    """What is drawn with; see `tui.glyphs.glyphs_for`."""

    planned_steps: reactive[int | None] = reactive[int | None](None)
    """Steps the run will have: the step axis then shows the whole way, and does not move."""

    message: reactive[str] = reactive("no steps yet")
    """Shown while there is nothing to draw."""

    class CaptionChanged(Message):
        """What the chart shows was changed; its `caption` says it in a few words."""

        def __init__(self, chart: LineChart) -> None:
            super().__init__()
            self.chart = chart

        @property
        def control(self) -> LineChart:
            return self.chart

        @property
        def caption(self) -> str:
            """The newest caption, also where the message waited."""
            return self.chart.caption

    def __init__(
        self,
        title: str = "loss",
        *,
        glyphs: GlyphSet = BRAILLE,
        id: str | None = None,  # noqa: A002 - Textual's own name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.title = title
        self._plot = Plot()
        self._strips: list[Strip] = []
        self._stale = False
        self._fresh = False
        self.set_reactive(LineChart.glyphs, glyphs)

    # -- data ----------------------------------------------------------------------------------

    def set_series(self, name: str, series: Series, kind: Kind = "other") -> None:
        """Add a curve or replace the one of this name; later ones are drawn on top."""
        self._plot.add(name, series, kind)
        self._stale = True
        if self.is_attached:
            self.post_message(self.CaptionChanged(self))

    def append(self, name: str, step: float, time: float, value: float) -> None:
        """Add one point to a curve known by `set_series`; shown at the next `refresh_data`."""
        self._plot.curves[name].series.append(step, time, value)
        self._stale = True

    def mark(self, step: float, kind: MarkKind) -> None:
        """Put a mark on the x axis. There is one best: a new one takes the place of the old."""
        self._plot.mark(step, kind)
        self._stale = True

    def truncate_above(self, step: float) -> None:
        """Forget points and marks above `step`: a resume rolled back to it."""
        self._plot.truncate_above(step)
        self._stale = True

    def clear(self) -> None:
        """Forget all curves and marks, and show all of whatever comes next."""
        self._plot.curves.clear()
        self._plot.marks.clear()
        self._plot.window.reset()
        self._plot.cursor = None
        self._stale = True

    def touch(self) -> None:
        """Say that a series was changed from outside, so that `refresh_data` draws it."""
        self._stale = True

    def refresh_data(self) -> None:
        """Draw anew if anything was added since the last time; call it on a timer."""
        if self._stale:
            self._repaint()

    @property
    def cursor(self) -> float | None:
        """Where the cursor stands on the x axis, in steps or seconds; None: hidden."""
        return self._plot.cursor

    @property
    def caption(self) -> str:
        """What is shown, for the border of a pane: `loss · step axis · EMA 0.9 · log`."""
        parts = [self.title, f"{self.axis} axis"]
        kinds = {curve.kind for curve in self._plot.curves.values()}
        if self.smoothing is not None and "train" in kinds:
            parts.append(f"EMA {self.smoothing:g}")
        if self.log_scale:
            parts.append("log")
        if self._plot.window.zoomed:
            parts.append("zoomed" if self._plot.window.right is not None else "zoomed, follows")
        return " · ".join(parts)

    # -- keys ----------------------------------------------------------------------------------

    def action_cycle_smoothing(self) -> None:
        """Next strength of the moving average, then off."""
        at = SMOOTHINGS.index(self.smoothing) if self.smoothing in SMOOTHINGS else -1
        self.smoothing = SMOOTHINGS[(at + 1) % len(SMOOTHINGS)]

    def action_toggle_log(self) -> None:
        """Logarithmic or linear y axis."""
        self.log_scale = not self.log_scale

    def action_toggle_axis(self) -> None:
        """Steps or time along x; the cursor stays on its point, the zoom is given up."""
        self.axis = "time" if self.axis == "step" else "step"

    def action_zoom(self, factor: float) -> None:
        """Show `factor` times as much of the x axis, around the cursor if there is one."""
        if extent := self._plot.extent():
            self._plot.zoom(factor, extent)
            self._look_changed()

    def action_pan(self, share: float) -> None:
        """Move a zoomed view by a share of its width."""
        if extent := self._plot.extent():
            self._plot.pan(share, extent)
            self._look_changed()

    def action_move_cursor(self, cells: int) -> None:
        """Move the cursor by cells; the first press puts it on the newest point in view."""
        if extent := self._plot.extent():
            self._plot.move_cursor(cells, extent, *self.size)
            self._repaint()

    def action_reset(self) -> None:
        """Show all of the x axis and hide the cursor."""
        self._plot.window.reset()
        self._plot.cursor = None
        self._look_changed()

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is."""
        if extent := self._plot.extent():
            self._plot.put_cursor(event.x, extent, *self.size)
            self._repaint()

    # -- drawing -------------------------------------------------------------------------------

    def watch_axis(self, axis: Axis) -> None:
        self._plot.turn_axis(axis)
        self._look_changed()

    def watch_log_scale(self) -> None:
        self._look_changed()

    def watch_smoothing(self) -> None:
        self._look_changed()

    def watch_glyphs(self) -> None:
        self._look_changed()

    def watch_planned_steps(self) -> None:
        self._look_changed()

    def watch_message(self) -> None:
        self._look_changed()

    def on_resize(self) -> None:
        """The picture fits one size only."""
        self._repaint()

    def notify_style_update(self) -> None:
        """Colours changed: the strips kept are of no use any more."""
        self._fresh = False
        super().notify_style_update()

    def _look_changed(self) -> None:
        plot = self._plot
        plot.log_scale, plot.smoothing = self.log_scale, self.smoothing
        plot.glyphs, plot.planned_steps = self.glyphs, self.planned_steps
        plot.message = self.message
        self._repaint()
        self.post_message(self.CaptionChanged(self))

    def _repaint(self) -> None:
        self._stale = self._fresh = False
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One row, from a picture drawn once a repaint."""
        width, height = self.size
        if not self._fresh or len(self._strips) != height:
            self._strips = [self._strip(runs, width) for runs in self._plot.rows(width, height)]
            self._fresh = True
        return self._strips[y] if y < len(self._strips) else Strip.blank(width, self.rich_style)

    def _strip(self, runs: list[Run], width: int) -> Strip:
        segments = [Segment(text, self._style(name)) for text, name in runs]
        return Strip(segments).adjust_cell_length(width, segments[-1].style)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"line-chart--{name}") if name else self.rich_style
