"""The graphs pane: one chart with a choice of curves, and what the GPU does below it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widget import Widget

from tui.bindings import bindings
from tui.glyphs import BRAILLE, GlyphSet
from tui.session import Curves, Session
from tui.widgets.gpu_pane import GpuPanel
from tui.widgets.guide import Guide, Steps
from tui.widgets.line_chart import LineChart
from tui.widgets.pane import Pane

VIEWS = ("loss", "learning rate", "gradient norm", "tokens a second")


class GraphsPane(Pane):
    """Curves of a run; before there is one, the steps to it."""

    NAME = "graphs"

    DEFAULT_CSS = """
    GraphsPane {
        LineChart { height: 1fr; }
        &.-waiting LineChart, &.-waiting GpuPanel { display: none; }
        Guide { display: none; }
        &.-waiting Guide { display: block; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("graphs")]

    def __init__(self, glyphs: GlyphSet = BRAILLE) -> None:
        super().__init__()
        self.chart = LineChart(glyphs=glyphs)
        self.gpu = GpuPanel(glyphs)
        self._guide = Guide()
        self._curves = Curves()
        self._view = 0

    def compose(self) -> ComposeResult:
        yield self._guide
        yield self.chart
        yield self.gpu

    def on_mount(self) -> None:
        self._guide.can_focus = True
        self.wait(Steps())

    def target(self) -> Widget:
        return self._guide if self.has_class("-waiting") else self.chart

    @property
    def keys(self) -> tuple[str, ...]:
        if self.has_class("-waiting"):
            return ()
        return ("graphs.view", "graphs.smooth", "graphs.log", "graphs.axis")

    def wait(self, steps: Steps) -> None:
        """Show the steps to a training, while there is no run."""
        self.set_class(True, "-waiting")
        self._guide.show(steps)
        self.head("what to do next")
        self.foot("")

    def follow(self, session: Session) -> None:
        """Show the curves of the session's run, from now on."""
        had_focus = self._guide.has_focus
        self.set_class(False, "-waiting")
        self._curves = session.curves
        self._draw_view()
        self.gpu.show(session)
        if had_focus:
            self.chart.focus()

    def refresh_curves(self, session: Session) -> None:
        """Draw what has come since the last time."""
        total = session.state.total_steps
        self.chart.planned_steps = total or None
        self.chart.message = _why_empty(session)
        for step, kind in self._curves.marks:
            self.chart.mark(step, kind)
        self.chart.touch()
        self.chart.refresh_data()

    def roll_back(self) -> None:
        """Marks or points went away: put the chart together anew."""
        self._draw_view()

    def action_next_view(self) -> None:
        """The next curve."""
        self._view = (self._view + 1) % len(VIEWS)
        self._draw_view()

    def _draw_view(self) -> None:
        chart, curves = self.chart, self._curves
        chart.clear()
        chart.title = VIEWS[self._view]
        if self._view == 0:
            chart.set_series("train", curves.train, "train")
            chart.set_series("eval", curves.evaluation, "eval")
        else:
            series = (curves.learning_rate, curves.grad_norm, curves.speed)[self._view - 1]
            chart.set_series(VIEWS[self._view], series, "other")
        for step, kind in curves.marks:
            chart.mark(step, kind)
        chart.refresh_data()
        self.head(chart.caption)
        self.foot("v other curves")

    def on_line_chart_caption_changed(self, event: LineChart.CaptionChanged) -> None:
        event.stop()
        if not self.has_class("-waiting"):
            self.head(self.chart.caption)


def _why_empty(session: Session) -> str:
    if session.live:
        return f"no step yet: {session.state.stage or 'starting'}"
    if session.failure:
        return "it failed before its first step: 4 says why"
    return "this run has no steps"
