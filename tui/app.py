"""The app: one session, one main screen, a timer between them, and what is true everywhere."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Literal

from textual.app import SystemCommand
from textual.binding import BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.screen import Screen
from textual.worker import get_current_worker

from core.config.errors import FinetuiError
from core.config.samples import demo_config
from core.config.schema import RunConfig
from core.record import events as ev
from core.record.folder import RunFolder, list_runs
from tui.bindings import KEYS, group_of
from tui.conduct import LOCKED, Conduct
from tui.draft import Name
from tui.glyphs import glyphs_for
from tui.inert import inert
from tui.models import Models
from tui.screens.main import MainScreen
from tui.sentences import sentence
from tui.session import LinkMaker, Session
from tui.styles.theme import FINETUI
from tui.terminal import TerminalDriver
from tui.toasts import ToastApp
from tui.typed import TypedApp
from tui.widgets.config_pane import ConfigPane
from tui.widgets.data_pane import DataPane
from tui.widgets.form import Form
from tui.widgets.guide import Steps
from tui.widgets.runs_pane import RunsPane
from tui.widgets.status import Standing

Severity = Literal["information", "warning", "error"]

OVERLAY: Name = ("data", "overlay")
DRAIN_SECONDS = 0.25
SLOW_DRAIN_SECONDS = 0.5
"""Over a slow link: twice a second is as often as curves are worth their bytes."""


class FinetuiApp(ToastApp, TypedApp):
    """The screen of finetui.

    `folder` is a run to show, `config` settings to begin with. `low_bandwidth` None means: when
    this is an SSH session. `pane` is the one in front, `demo` gives the demo's settings, `links`
    makes the holds on runs.
    """

    TITLE = "finetui"
    CSS_PATH = Path(__file__).parent / "styles" / "finetui.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(
        self,
        root: Path,
        folder: RunFolder | None = None,
        config: RunConfig | None = None,
        low_bandwidth: bool | None = None,
        *,
        pane: str = "graphs",
        demo: Callable[[], RunConfig] = demo_config,
        links: LinkMaker | None = None,
    ) -> None:
        super().__init__()
        self.session = Session(root, links)
        self.demo = demo
        self.shown_config = config or RunConfig()
        """The settings that were read last: of the run that is shown, or given at the start."""
        self.main = MainScreen(self.shown_config, glyphs_for(sys.stdout.encoding))
        self.main.current = pane
        self.main.data.root = root
        self._folder = folder
        self._given = config is not None
        self._slow = "SSH_CONNECTION" in os.environ if low_bandwidth is None else low_bandwidth
        self._conduct = Conduct(self)
        self.models = Models()
        self._doing = ""
        self._saved = self.main.config.draft.texts()
        self._runs_here = 0
        self._quit_when_done = False
        self._heading = ""
        self._guide: str = ""

    def get_driver_class(self) -> type[Driver]:
        found = super().get_driver_class()
        return TerminalDriver if found is LinuxDriver else found

    def _fatal_error(self) -> None:
        """Leave without a traceback on the terminal: who opened the screen tells of the error."""
        self._close_messages_no_wait()

    @property
    def failure(self) -> Exception | None:
        """What ended the screen, where that was no one's wish."""
        return self._exception

    # -- life ----------------------------------------------------------------------------------

    def on_mount(self) -> None:
        self.animation_level = "none"
        self.register_theme(FINETUI)
        self.theme = "finetui"
        self.push_screen(self.main)
        loop = asyncio.get_running_loop()
        if hasattr(signal, "SIGHUP"):
            # The terminal is gone: leave, and let the run go on without us.
            loop.add_signal_handler(signal.SIGHUP, self.exit)
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """Everything that can wait until the first paint is done."""
        self.main.config.say_head("new run")
        if self._folder is not None:
            self.session.attach(self._folder)
            self.run_opened()
        else:
            self._find_runs(first=True)
            self.look_at_settings()
        self.set_interval(SLOW_DRAIN_SECONDS if self._slow else DRAIN_SECONDS, self._drain)

    def _find_runs(self, *, first: bool = False) -> None:
        """List the runs, in a thread: their journals may be long."""

        def look() -> None:
            from core.record.state import state_of
            from tui.widgets.runs_pane import RunRow

            rows = []
            for run in list_runs(self.session.root):
                try:
                    state = state_of(run)
                except OSError:
                    continue  # removed while we looked
                rows.append(RunRow(run, state.status, state))
            self.call_from_thread(found, rows)

        def found(rows: list[object]) -> None:
            from core.record.state import LIVE
            from tui.widgets.runs_pane import RunRow

            runs = [row for row in rows if isinstance(row, RunRow)]
            current = self.session.folder
            self.main.runs.show(runs, current.name if current else "")
            self._runs_here = len(runs)
            live = [row.folder for row in runs if row.status in LIVE]
            if first and not self._given and self.session.folder is None:
                if len(live) == 1:
                    self._conduct.open_run(live[0])
                elif runs:
                    self.main.show_pane("runs")
            self._show_guide()

        self.run_worker(look, thread=True, exclusive=True, group="runs")

    # -- what is shown -------------------------------------------------------------------------

    def run_opened(self) -> None:
        """The session holds a run now: show it everywhere."""
        from core.config import files

        folder = self.session.folder
        assert folder is not None
        self.main.log_pane.clear()
        self.main.graphs.follow(self.session)
        try:
            self.shown_config = files.load(folder.config).config
        except FinetuiError as error:
            self.say_error(error)
        self.main.config.load(self.shown_config, folder.name, LOCKED)
        self._saved = self.main.config.draft.texts()
        self.look_at_settings()
        self.main.deliver.show(self.session)
        self._find_runs()
        self._drain()
        self._show_standing()

    def run_closed(self, config: RunConfig) -> None:
        """No run is shown any more; `config` is what the form begins with."""
        self.session.release()
        self.shown_config = config
        self.main.log_pane.clear()
        self.main.config.load(config, "new run")
        self._saved = self.main.config.draft.texts()
        self.main.deliver.show(self.session)
        self.look_at_settings()
        self._show_standing()

    def set_setting(self, name: Name, text: str) -> None:
        """Put a text into the form from outside of it."""
        from core.config.schema import RunConfig as Settings
        from tui.draft import text_of

        value = text
        if name == ("data", "files"):
            value = text_of([text])
        assert name[0] in Settings.model_fields
        self.main.config.draft.set(name, value)
        self.main.config.form.redraw()
        self.main.config.settings_changed()
        self.look_at_settings()

    def look_at_settings(self) -> None:
        """Let the data pane and the guide follow the settings; check layers against the model."""
        config = self.main.config.draft.last_good()
        self.main.data.look_at(config, self.main.config.form.locked)
        self._check_model(config)
        self._show_guide()
        self._show_standing()

    def _check_model(self, config: RunConfig) -> None:
        name = config.model.name_or_path
        if not name or self.session.folder is not None:
            self.main.config.say_memory("")
            return
        wrong = self.main.config.draft.meaningless()

        def check() -> None:
            from tui.memory import lines

            worker = get_current_worker()
            look = self.models.look_at(name, config.model.revision)
            model, layers = look.objections(config.adapter.target_modules)
            needs = lines(config, look, wrong)
            if not worker.is_cancelled:  # else the settings have changed, and another one looks
                self.call_from_thread(checked, model, layers, needs)

        def checked(model: str | None, layers: str | None, needs: tuple[str, str]) -> None:
            pane = self.main.config
            if self.session.folder is None and pane.draft.text(("model", "name_or_path")) == name:
                pane.object_to(("model", "name_or_path"), model)
                pane.object_to(("adapter", "target_modules"), layers)
                pane.say_memory(*needs)
                self._show_guide()

        self.run_worker(check, thread=True, exclusive=True, group="shape")

    def on_form_edited(self, event: Form.Edited) -> None:
        """A setting was changed."""
        self.look_at_settings()

    def on_form_typed(self, event: Form.Typed) -> None:
        """The memory follows what is typed; half a model's name would be asked of the hub."""
        if event.name[0] != "model":
            self._check_model(self.main.config.draft.last_good())

    def on_main_screen_shown(self, event: MainScreen.Shown) -> None:
        """A pane was chosen: the list of runs is read anew each time."""
        if event.name == "runs":
            self._find_runs()

    def on_pane_changed(self) -> None:
        self._show_guide()

    def on_data_pane_setting(self, event: DataPane.Setting) -> None:
        """The inspector sets a setting, where the settings can still be changed."""
        if self.session.folder is not None:
            self.say(LOCKED, severity="warning")
        else:
            self.set_setting(event.name, event.text)

    def on_runs_pane_opened(self, event: RunsPane.Opened) -> None:
        self._conduct.open_run(event.folder)

    def on_config_pane_write(self, event: ConfigPane.Write) -> None:
        self._conduct.write_config()

    def settings_written(self, path: Path) -> None:
        """The settings stand in a file now."""
        self._saved = self.main.config.draft.texts()
        self.say(f"written: {path}")

    def _show_guide(self) -> None:
        if self.session.folder is not None or not self.main.is_mounted:
            return
        draft = self.main.config.draft
        wrong = ", ".join(key for _, key in draft.errors())
        model = draft.text(("model", "name_or_path"))
        steps = Steps(self.main.data.told, model, wrong, self._runs_here)
        self.main.graphs.wait(steps)

    def _drain(self) -> None:
        """Take in what has happened, and show it in one go."""
        update = self.session.drain()
        if update is None:
            return
        with self.batch_update():
            if update.lines:
                self.main.log_pane.extend(update.lines)
            if update.curves or not len(self.session.curves.train):
                self.main.graphs.refresh_curves(self.session)
            if update.meters or update.curves:
                self.main.graphs.gpu.show(self.session)
            if update.answers or (self.session.live and self.session.state.job == "merge"):
                self.main.deliver.show(self.session)
            self._show_standing()
        for event in update.news:
            self._tell(event)
        if self._quit_when_done and not self.session.live:
            self.exit()

    def _tell(self, event: ev.Event) -> None:
        """Say news where the log is not in sight; ring for what ends or endangers a run."""
        told = sentence(event)
        if told is None or (isinstance(event, ev.CommandAnswered) and event.accepted):
            return
        level: dict[str, Severity] = {"warning": "warning", "error": "error"}
        self.say(told[1], severity=level.get(told[0], "information"))
        if not isinstance(event, ev.CommandAnswered):
            self.bell()
        if isinstance(event, ev.JobFinished | ev.JobFailed | ev.JobStopped):
            self._find_runs()

    def _show_standing(self) -> None:
        session = self.session
        name = session.folder.name if session.folder else ""
        ours, kind = memory(session)
        self.main.status.show(
            Standing(name, session.status, session.state, ours, kind, self._doing)
        )
        ids, labels = run_keys(session)
        self.main.say_keys(ids, labels, _place(session.folder))

    # -- words ---------------------------------------------------------------------------------

    def say(self, text: str, *, severity: Severity = "information") -> None:
        """A toast, as inert text."""
        seconds = {"information": 4.0, "warning": 6.0, "error": 12.0}[severity]
        self.notify(inert(text, keep="\n"), severity=severity, timeout=seconds, markup=False)

    def say_error(self, error: FinetuiError) -> None:
        """A toast for an error: what is wrong, and what to do."""
        remedies = "".join(f"\n→ {remedy}" for remedy in error.remedies)
        self.say(error.message + remedies, severity="error")

    def say_doing(self, what: str) -> None:
        """Show in the status line what is under way; empty: nothing."""
        self._doing = f"{what} …" if what else ""
        self._show_standing()

    # -- keys ----------------------------------------------------------------------------------

    def action_train(self) -> None:
        self._conduct.train()

    def action_pause(self) -> None:
        self._conduct.pause()

    def action_save(self) -> None:
        self._conduct.save()

    def action_stop(self) -> None:
        self._conduct.stop()

    def action_merge(self) -> None:
        self._conduct.merge()

    def action_new(self) -> None:
        self._conduct.new()

    def action_open_data(self) -> None:
        self._conduct.open_data()

    def action_base_model(self) -> None:
        self._conduct.base_model()

    def action_demo(self) -> None:
        self._conduct.demo()

    def action_help(self) -> None:
        """The page of keys, at those of the pane in front."""
        from tui.screens.keys import KeysScreen

        self.push_screen(KeysScreen(group_of(self.main.place)))

    def action_picture(self) -> None:
        """Save a picture of the screen into the run's folder, else here."""
        folder = self.session.folder.path if self.session.folder else Path.cwd()
        try:
            path = self.save_screenshot(path=str(folder))
        except OSError as error:
            self.say(f"cannot save a picture in {folder}: {error.strerror}", severity="error")
        else:
            self.say(f"picture saved: {path}")

    async def action_quit(self) -> None:
        """Quit; ask first when a training runs or settings would be lost."""
        from tui.screens.ask import Ask
        from tui.screens.leave import questions

        texts, data = self.main.config.draft.texts(), self.main.data
        name = texts[OVERLAY]
        decided = data.overlays.told(data.rows) if name != self._saved[OVERLAY] else ""
        if data.overlays.found_again(name):
            texts[OVERLAY] = self._saved[OVERLAY]
        unsaved = self.session.folder is None and texts != self._saved
        asked = questions(self.session, unsaved=unsaved, decided=decided)
        if asked is None:
            self.exit()
        else:
            self.push_screen(Ask(*asked), self._leave)

    def _leave(self, answer: str | None) -> None:
        match answer:
            case "leave":
                self.exit()
            case "write":
                self._conduct.write_config()
                if self.main.config.draft.texts() == self._saved:
                    self.exit()
            case "stop" | "abort":
                self.session.send("StopAndSave" if answer == "stop" else "Abort")
                if self.session.state.engine_host == "thread":
                    self._quit_when_done = True
                    self.say_doing("ending the run, then quitting")
                else:
                    self.exit()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """The table of keys as commands, then the theme."""
        if screen is self.main:
            for key in KEYS:
                if key.action.startswith("app.") and key.id != "app.palette":
                    action = getattr(self, f"action_{key.action.removeprefix('app.')}")
                    yield SystemCommand(key.label.capitalize(), key.help, action)
            yield SystemCommand("Zoom", "give this pane the whole screen", self.main.action_zoom)
            for name, pane in self.main.panes.items():
                about = f"go to the {name} pane ({pane.number})"
                yield SystemCommand(name.title(), about, lambda n=name: self.main.show_pane(n))
        yield SystemCommand("Theme", "change the colours", self.action_change_theme)


def run_keys(session: Session) -> tuple[tuple[str, ...], dict[str, str]]:
    """Which keys of the run matter now, and the words for them."""
    if session.folder is None:
        return ("run.train", "run.data", "run.model"), {}
    if session.live and session.state.job == "train":
        pause = "go on" if session.status == "paused" else "pause"
        return ("run.pause", "run.save", "run.stop"), {"run.pause": pause}
    if session.live:
        return ("run.stop",), {"run.stop": "abort"}
    again = {"run.train": "resume" if session.state.step else "train"}
    train = () if session.state.trained else ("run.train",)
    merge = ("run.merge",) if session.has_adapter and session.state.merged is None else ()
    return (*train, *merge, "run.new"), again


def memory(session: Session) -> tuple[int | None, str]:
    """What the run holds now, in bytes, and a word for where, if that is not a GPU."""
    if not session.live:
        return None, ""
    if session.gpus:
        return sum(max(0, gpu.ours_bytes) for gpu in session.gpus.values()), ""
    return (session.process.rss_bytes, " RAM") if session.process else (None, "")


def _place(folder: RunFolder | None) -> str:
    """Where the run lies, as short as it can be said."""
    if folder is None:
        return ""
    here = Path.cwd()
    inside = folder.path.is_relative_to(here)
    return str(folder.path.relative_to(here) if inside else folder.path)
