"""What the keys of the run do. Every key that cannot act now says why, and what would help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.config import files
from core.config.counted import counted
from core.config.errors import FinetuiError, InputError
from core.config.schema import RunConfig
from core.record.commands import Name
from core.record.folder import RunFolder
from tui import nearby, numbers
from tui.session import LinkLike, Session

if TYPE_CHECKING:
    from tui.app import FinetuiApp
    from tui.screens.main import MainScreen

T = TypeVar("T")

LOCKED = "these are the settings of a run that exists: n begins a new run from them"


class Conduct:
    """Starts, steers and ends runs for the app. What takes time happens in a thread."""

    def __init__(self, app: FinetuiApp):
        self._app = app
        self._busy = ""

    @property
    def _session(self) -> Session:
        return self._app.session

    @property
    def _main(self) -> MainScreen:
        return self._app.main

    # -- start ---------------------------------------------------------------------------------

    def train(self) -> None:
        """Start a new run, or resume the one that is shown."""
        session = self._session
        if session.live:
            self._refuse(f"{session.state.job or 'a job'} is running already")
        elif session.folder is None:
            self._start()
        elif session.status == "finished" and session.state.trained:
            self._refuse("this run has finished; n begins a new one with the same settings")
        else:
            self._main.show_pane("graphs")
            self._do("resuming", lambda: session.launch("train"))

    def _start(self) -> None:
        try:
            config = self._main.config.draft.config()
            _check_complete(config)
        except InputError as error:
            self._show_mistake(error)
            return
        if lost := self._main.data.lost:
            self._refuse_lost(lost)
            return

        def done(link: LinkLike) -> None:
            self._session.show(link)
            self._app.run_opened()
            self._main.zoomed = False
            self._main.show_pane("graphs")

        self._do("starting", lambda: self._started(config), done)

    def _started(self, config: RunConfig) -> LinkLike:
        """Start a run that is not known to be refused. In a thread: it looks at model and GPUs."""
        from core.model.fits import check_start  # 30 ms that the first screen need not wait for

        look = self._app.models.look_at(config.model.name_or_path, config.model.revision)
        check_start(config, look)
        return self._session.start(config)

    def _refuse_lost(self, lost: int) -> None:
        self._main.show_pane("data")
        self._main.data.show_problems()
        fit = counted(lost, "decision fits", "decisions fit")
        self._refuse(f"not started: {fit} no row of this data any more. del lets them go, or clear "
                     "data.overlay (2) to take the data as it is")  # fmt: skip

    def _show_mistake(self, error: InputError) -> None:
        wrong = self._main.config.draft.errors()
        if wrong:
            self._main.show_pane("config")
            self._main.config.form.go_to(next(iter(wrong)))
        self._app.say_error(error)

    def new(self) -> None:
        """Leave the run that is shown, and edit its settings for another."""
        if self._session.folder is None:
            self._refuse("this is a new run already: t starts it")
            return
        config = self._app.shown_config.model_copy(deep=True)
        config.run.name = ""
        self._app.run_closed(config)
        self._main.show_pane("config")

    def open_run(self, folder: RunFolder) -> None:
        """Show a run of the list."""
        self._session.attach(folder)
        self._app.run_opened()
        self._main.show_pane("graphs")

    # -- steer ---------------------------------------------------------------------------------

    def pause(self) -> None:
        """Pause a training, or let it go on."""
        if not self._training("pause"):
            return
        name: Name = "Continue" if self._session.status == "paused" else "Pause"
        self._send(name, "going on" if name == "Continue" else "pausing after this step")

    def save(self) -> None:
        """Ask for a checkpoint."""
        if self._training("save"):
            self._send("SaveNow", "saving after this step")

    def stop(self) -> None:
        """End training with a checkpoint; end another job, after a question."""
        if not self._session.live:
            self._refuse(self._under_way() or "nothing is running")
        elif self._session.state.job == "train":
            self._send("StopAndSave", "stopping: the checkpoint comes first")
        else:
            self._ask_abort()

    def _ask_abort(self) -> None:
        from tui.screens.ask import Answer, Ask

        job = self._session.state.job
        answers = (Answer("", "c", "go on"), Answer("abort", "a", f"abort the {job}"))
        self._app.push_screen(
            Ask("Abort?", f"A {job} cannot be stopped half-way and kept.", answers),
            lambda answer: self._send("Abort", "aborting") if answer == "abort" else None,
        )

    def _training(self, what: str) -> bool:
        if self._session.live and self._session.state.job == "train":
            return True
        if self._session.live:
            self._refuse(f"{self._session.state.job} is running; only training can {what}")
        else:
            self._refuse(self._under_way() or f"nothing to {what}: no training is running")
        return False

    def _under_way(self) -> str:
        """What to say while a run may be there in a moment; empty when none is to come."""
        if self._busy:
            return f"one moment: {self._busy}"
        if self._session.folder is not None and not self._session.caught_up:
            return "one moment: reading the run"
        return ""

    # -- merge ---------------------------------------------------------------------------------

    def merge(self) -> None:
        """Ask whether to merge, with what it takes."""
        session = self._session
        if session.live:
            why = "x stops and saves it" if session.state.job == "train" else "wait for it"
            self._refuse(f"{session.state.job} is running: {why}")
        elif session.folder is None or not session.has_adapter:
            end = "resume to the end first (t)" if session.state.step else "train first (t)"
            self._refuse(f"nothing to merge yet: {end}")
        elif session.folder.merged.exists():
            self._refuse("this run is merged already: 6 shows it")
        else:
            folder, config = session.folder, self._app.shown_config
            self._do("looking", lambda: merge_needs(folder, config), self._ask_merge)

    def _ask_merge(self, needs: str) -> None:
        from tui.screens.ask import Answer, Ask

        answers = (
            Answer("merge", "m", "merge", "in the background; then base and merged answer"),
            Answer("", "c", "not now"),
        )

        def answered(answer: str | None) -> None:
            if answer == "merge":
                self._main.show_pane("deliver")
                self._do("merging", lambda: self._session.launch("merge"))

        self._app.push_screen(Ask("Merge the adapter into the base?", needs, answers), answered)

    # -- choose --------------------------------------------------------------------------------

    def open_data(self) -> None:
        """Choose the training data."""
        what = nearby.DATA[0].upper() + nearby.DATA[1:]
        self._choose(
            "Open data",
            f"{what} (owner/name). {nearby.DATA_KINDS}",
            nearby.data_files,
            "data",
            "files",
        )

    def base_model(self) -> None:
        """Choose the model to tune."""
        self._choose(
            "Choose the base model",
            "A folder with config.json and safetensors, or a name on the hub such as "
            "Qwen/Qwen2.5-7B-Instruct.",
            nearby.models,
            "model",
            "name_or_path",
        )

    def _choose(
        self,
        title: str,
        hint: str,
        find: Callable[[str], list[nearby.Found]],
        section: str,
        key: str,
    ) -> None:
        from tui.screens.choose import Choose

        if self._session.folder is not None:
            self._refuse(LOCKED)
            return

        def ask(value: str, told: str) -> None:
            def chosen(text: str | None) -> None:
                if text and key == "files":
                    text = nearby.meant(text)
                    if text.endswith("/") and text != value:
                        ask(text, f"All data files below {text} with enter, or one of these.")
                        return
                    if not nearby.is_there(text):
                        self._refuse(f"there is no file, folder or data set {text}")
                        ask(text, told)
                        return
                if text:
                    self._app.set_setting((section, key), text.rstrip("/") or "/")

            self._app.push_screen(Choose(title, told, find, value), chosen)

        ask("", hint)

    def demo(self) -> None:
        """Take the demo's settings."""
        if self._session.folder is not None:
            self._refuse(LOCKED)
        else:
            self._do("reading the demo", self._app.demo, self._app.run_closed)

    def write_config(self) -> None:
        """Write the settings to a TOML file in this folder, under a name that is free."""
        draft = self._main.config.draft
        try:
            config = draft.config()
        except InputError as error:
            self._show_mistake(error)
            return
        path = _free(Path.cwd(), config.run.name or "finetui")
        try:
            path.write_text(files.dump(config), encoding="utf-8")
        except OSError as error:
            self._refuse(f"cannot write {path}: {error.strerror}")
            return
        self._app.settings_written(path)

    # -- how -----------------------------------------------------------------------------------

    def _send(self, name: Name, told: str) -> None:
        self._do(told, lambda: self._session.send(name), lambda _: self._app.say(told))

    def _do(
        self, what: str, work: Callable[[], T], then: Callable[[T], object] | None = None
    ) -> None:
        """Do `work` in a thread, then `then` with its result here; errors are shown."""
        if self._busy:
            self._refuse(f"one moment: {self._busy}")
            return
        self._busy = what
        self._app.say_doing(what)

        def done(result: T) -> None:
            self._end()
            if then is not None:
                then(result)

        def failed(error: FinetuiError) -> None:
            self._end()
            self._app.say_error(error)

        def thread() -> None:
            try:
                result = work()
            except FinetuiError as error:
                self._app.call_from_thread(failed, error)
            except OSError as error:
                told = InputError(f"{what} failed: {error.strerror or error}", kind="os_error")
                self._app.call_from_thread(failed, told)
            else:
                self._app.call_from_thread(done, result)

        self._app.run_worker(thread, thread=True, group="conduct")

    def _end(self) -> None:
        self._busy = ""
        self._app.say_doing("")

    def _refuse(self, why: str) -> None:
        self._app.say(why, severity="warning")


def merge_needs(folder: RunFolder, config: RunConfig) -> str:
    """What a merge takes and where it goes, in numbers where they are known."""
    import shutil

    import psutil

    from core.model.shapes import shape_of

    free_disk = shutil.disk_usage(folder.path).free
    free_memory = psutil.virtual_memory().available
    size = shape_of(config.model.name_or_path, config.model.revision).size_bytes
    takes = numbers.size(size) if size is not None else "not known until the weights are here"
    return (
        f"The base is loaded in full precision on the CPU; the merged model goes to\n"
        f"{folder.merged}\n\n"
        f"Size of the base   {takes}\n"
        f"Free memory        {numbers.size(free_memory)}\n"
        f"Free disk          {numbers.size(free_disk)}"
    )


def _check_complete(config: RunConfig) -> None:
    if not config.data.files:
        raise InputError(
            "there is no training data yet", kind="no_data", remedies=("o opens a file",)
        )
    if not config.model.name_or_path:
        raise InputError("no model is chosen yet", kind="no_model", remedies=("b chooses one",))


def _free(folder: Path, stem: str) -> Path:
    names = [f"{stem}.toml", *(f"{stem}-{n}.toml" for n in range(2, 1000))]
    return next(folder / name for name in names if not (folder / name).exists())
