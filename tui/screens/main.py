"""The main screen: four panes side by side where there is room, else one at a time."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from core.config.schema import RunConfig
from tui.bindings import PANE_NAMES, bindings
from tui.bindings import key as key_of
from tui.glyphs import BRAILLE, GlyphSet
from tui.widgets.config_pane import ConfigPane
from tui.widgets.data_pane import DataPane
from tui.widgets.deliver_pane import DeliverPane
from tui.widgets.form import Form
from tui.widgets.graphs_pane import GraphsPane
from tui.widgets.log_pane import LogPane
from tui.widgets.pane import Pane
from tui.widgets.runs_pane import RunsPane
from tui.widgets.status import FooterLine, StatusLine, TabsLine

WIDE = 110
"""Columns from which panes stand side by side."""

GRID = ("data", "config", "graphs", "log")


class MainScreen(Screen[None]):
    """Panes between the status line and the keys."""

    class Shown(Message):
        """A pane was chosen."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]

    def __init__(self, config: RunConfig, glyphs: GlyphSet = BRAILLE) -> None:
        super().__init__()
        self.status = StatusLine()
        self.tabs = TabsLine()
        self.footer = FooterLine()
        self.data = DataPane()
        self.config = ConfigPane(config)
        self.graphs = GraphsPane(glyphs)
        self.log_pane = LogPane(glyphs)
        self.runs = RunsPane()
        self.deliver = DeliverPane()
        self.current = "graphs"
        """The pane that was chosen last: it has the focus, and is the one shown alone."""
        self.zoomed = False
        self._run_keys: tuple[tuple[str, ...], dict[str, str], str] = ((), {}, "")

    @property
    def panes(self) -> dict[str, Pane]:
        """The panes by name, in the order of their keys."""
        panes = (self.data, self.config, self.graphs, self.log_pane, self.runs, self.deliver)
        return dict(zip(PANE_NAMES, panes, strict=True))

    @property
    def place(self) -> str:
        """Where the keys are now: the pane, and its view where it has several."""
        view = self.data.view_name if self.current == "data" else ""
        return f"{self.current}.{view}" if view else self.current

    def compose(self) -> ComposeResult:
        yield self.status
        yield self.tabs
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                yield self.data
                yield self.config
            with Vertical(id="right"):
                yield self.graphs
                yield self.log_pane
            yield self.runs
            yield self.deliver
        yield self.footer

    def on_mount(self) -> None:
        self._arrange()
        self.show_pane(self.current)

    @property
    def alone(self) -> bool:
        """Whether one pane has the whole screen."""
        return self.size.width < WIDE or self.zoomed or self.current not in GRID

    def show_pane(self, name: str) -> None:
        """Bring a pane into sight and give it the keys."""
        self.current = name
        self._arrange()
        self.call_after_refresh(self._focus_current)
        self.post_message(self.Shown(name))

    def action_pane(self, name: str) -> None:
        self.show_pane(name)

    def action_next_pane(self) -> None:
        """The next pane: of those in sight, or of all where one is shown alone."""
        self._cycle(1)

    def action_previous_pane(self) -> None:
        self._cycle(-1)

    def action_zoom(self) -> None:
        """Give the pane the whole screen, or its place back."""
        if self.current not in GRID:
            self.show_pane("graphs")
            return
        self.zoomed = not self.zoomed
        self._arrange()

    def say_keys(self, ids: tuple[str, ...], labels: dict[str, str], place: str) -> None:
        """Say which keys of the run matter now, and where the run lies."""
        self._run_keys = (ids, labels, place)
        self._say_footer()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """A click or a tab moved the focus: its pane is the current one."""
        for name, pane in self.panes.items():
            if pane.has_focus_within and name != self.current:
                self.current = name
                self.tabs.show(name)
        self._say_footer()

    def on_pane_changed(self) -> None:
        self._say_footer()

    def _cycle(self, by: int) -> None:
        names = PANE_NAMES if self.alone else GRID
        at = names.index(self.current) if self.current in names else 0
        self.show_pane(names[(at + by) % len(names)])

    def _focus_current(self) -> None:
        target: Widget = self.panes[self.current].target()
        if not self.is_modal and self.app.screen is self:
            target.focus()

    def _arrange(self) -> None:
        """Show what belongs on the screen at this size."""
        alone = self.alone
        for name, pane in self.panes.items():
            pane.display = name == self.current if alone else name in GRID
        for side, names in (("#left", GRID[:2]), ("#right", GRID[2:])):
            self.query_one(side).display = not alone or self.current in names
        self.tabs.display = self.size.width < WIDE
        self.set_class(alone, "-alone")
        self.tabs.show(self.current)
        self._say_footer()

    def _say_footer(self) -> None:
        ids, labels, place = self._run_keys
        pane = self.panes[self.current]
        editing = isinstance(pane, ConfigPane) and pane.form.editing is not None
        zoom = ("pane.zoom",) if self.size.width >= WIDE else ()
        # While a run can be steered its keys stand first; else those of the pane that is shown.
        steered = "run.stop" in ids or not self.alone
        first = (*ids, *pane.keys) if steered else (*pane.keys, *ids)
        near: tuple[str, ...] = (*first, *zoom, "app.help", "app.palette")
        if pane.typing:
            near, labels = pane.typing, {}
        elif editing:  # letters are typed now: only the input's own keys act
            near, labels = ("config.edit", "config.leave"), {"config.edit": "done"}
        rows = [key_of(key_id) for key_id in dict.fromkeys(near)]
        self.footer.show(rows, labels, place)

    def on_form_refused(self, event: Form.Refused) -> None:
        event.stop()
        self.notify(event.reason, severity="warning")
