"""The config pane: the form, the help of the setting under the cursor, and summaries."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from core.config.counted import counted
from core.config.schema import RunConfig
from tui import numbers
from tui.bindings import bindings
from tui.draft import Draft, Name
from tui.inert import inert
from tui.widgets.field import Row, choices, help_of
from tui.widgets.form import Form
from tui.widgets.pane import Pane


class ConfigPane(Pane):
    """Shows the settings of a run that exists, or lets those of a new one be changed."""

    NAME = "config"

    DEFAULT_CSS = """
    ConfigPane {
        #field-help {
            height: auto;
            max-height: 4;
            min-height: 2;
            color: $foreground 60%;
            border-top: solid $border;
            &.-wrong { color: $error; }
            &.-long { max-height: 8; }
        }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("config")]

    class Write(Message):
        """The settings should be written to a file."""

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.form = Form(Draft(config), self._summary)
        self._help = Static(id="field-help")
        self._good: RunConfig | None = config
        self._memory = self._memory_more = ""

    def compose(self) -> ComposeResult:
        yield self.form
        yield self._help

    def on_mount(self) -> None:
        self._say_help()
        self.say_head("new run")

    def target(self) -> Widget:
        return self.form.target()

    @property
    def draft(self) -> Draft:
        """The settings as they stand in the form."""
        return self.form.draft

    @property
    def keys(self) -> tuple[str, ...]:
        row = self.form.row
        if self.form.editing or row.kind != "field":
            return ("config.edit",)
        return ("config.choose" if choices(row.name) else "config.edit", "config.default")

    def load(self, config: RunConfig, title: str, locked: str = "") -> None:
        """Show a configuration; `locked` says why it cannot be changed."""
        self._good = config
        self.form.load(Draft(config), locked)
        self.say_head(title)
        self._say_help()

    def say_head(self, title: str) -> None:
        """Set the title, and say in the lower border what to do about a lock."""
        self.head("read only" if self.form.locked else title)
        self.foot("n begins a new run from these" if self.form.locked else self._memory)

    def say_memory(self, text: str, more: str = "") -> None:
        """Say in the lower border how much memory these settings would take, on which path.

        ``more`` stands beside the help of the settings that it is about.
        """
        changed = more != self._memory_more
        self._memory, self._memory_more = text, more
        if not self.form.locked:
            self.foot(text)
        if changed:
            self._say_help()

    def object_to(self, name: Name, error: str | None) -> None:
        """Show what a check that took its time found."""
        self.draft.object_to(name, error)
        self.form.redraw()
        self._say_help()

    def settings_changed(self) -> None:
        """Settings were changed from outside the form."""
        self._good = None
        self.form.redraw()
        self._say_help()

    def action_write_config(self) -> None:
        """Ask for the settings to be written to a file."""
        self.post_message(self.Write())

    def on_form_moved(self, event: Form.Moved) -> None:
        event.stop()
        self._good = None
        self._say_help()
        self.post_message(self.Changed())

    def _say_help(self) -> None:
        row = self.form.row
        error = self.draft.error(row.name) if row.kind == "field" else None
        self._help.set_class(error is not None, "-wrong")
        if error:
            text = f"✗ {mistake(row.key, error)}"
        elif row.kind == "field":
            text = help_of(row.name, self.draft.default(row.name))
        elif row.kind == "more":
            text = "enter shows the rest of this section"
        else:
            text = self._section_help(row.section)
        told = bool(self._memory_more and not error and _of_memory(row) and not self.form.locked)
        self._help.set_class(told, "-long")
        if told:
            text = f"{self._memory_more} {text}"
        self._help.update(Content(inert(text)))

    def _section_help(self, section: str) -> str:
        annotation = RunConfig.model_fields[section].annotation
        about = (getattr(annotation, "__doc__", None) or "").strip()
        return f"{about} Enter folds and unfolds; arrows go through the settings."

    def _summary(self, section: str) -> str:
        """One line that says what matters of a section."""
        if self._good is None:
            self._good = self.draft.last_good()
        return summary(self._good, section)


def _of_memory(row: Row) -> bool:
    """Whether a line is about memory, or about the path that it is reckoned for."""
    return row.section == "memory" or (row.kind == "field" and row.name == ("train", "path"))


def mistake(key: str, error: str) -> str:
    """What is wrong with a setting, as one sentence that begins with its name."""
    return f"{key} {error}" if error.startswith("is ") else f"{key}: {error}"


def summary(config: RunConfig, section: str) -> str:
    """The line a section is known by when it is folded."""
    match section:
        case "model":
            return Path(config.model.name_or_path).name or "none yet: b chooses one"
        case "quantization":
            double = " · double" if config.quantization.bnb_4bit_use_double_quant else ""
            four = double if config.quantization.load_in_4bit else ""
            return f"{config.quantization.label}{four}"
        case "adapter":
            return _adapter(config)
        case "data":
            return _data(config)
        case "clean":
            return _clean(config)
        case "train":
            return _train(config)
        case "memory":
            limit = config.memory.limit_gib
            return f"at most {limit:g} GiB" if limit else "what is free"
        case "evaluate":
            every = {
                "steps": f"every {counted(config.evaluate.eval_steps, 'step')}",
                "epoch": "every epoch",
            }
            when = every.get(config.evaluate.eval_strategy, "never")
            return f"{when} · {counted(config.evaluate.compare_rows, 'answer')} compared"
    return f"{config.run.name or 'name from model and data'} · device {config.run.devices}"


def _adapter(config: RunConfig) -> str:
    adapter = config.adapter
    kind = "DoRA" if adapter.use_dora else "rsLoRA" if adapter.use_rslora else "LoRA"
    alpha, drop = f"{adapter.lora_alpha:g}", f"{adapter.lora_dropout:g}"
    modules = adapter.target_modules
    where = modules if isinstance(modules, str) else counted(len(modules), "layer")
    return f"{kind} r {adapter.r} alpha {alpha} drop {drop} · {where}"


def _data(config: RunConfig) -> str:
    files = config.data.files
    if not files:
        return "none yet: o opens some"
    more = f" +{len(files) - 1}" if len(files) > 1 else ""
    packed = "packed" if config.data.packing else "one row a sequence"
    return f"{Path(files[0]).name}{more} · {config.data.max_length} tokens · {packed}"


def _clean(config: RunConfig) -> str:
    clean = config.clean
    repairs = ("line_endings", "mojibake", "control_characters", "html", "whitespace")
    count = sum(getattr(clean, name) for name in repairs)
    near = " · near duplicates" if clean.near_duplicates else ""
    private = f"secrets {clean.secrets} · personal data {clean.personal_data}"
    return f"{counted(count, 'repair')}{near} · {private}"


def _train(config: RunConfig) -> str:
    train = config.train
    steps, epochs = counted(train.max_steps, "step"), counted(train.num_train_epochs, "epoch")
    length = steps if train.max_steps > 0 else epochs
    batch = f"{train.per_device_train_batch_size} × {train.gradient_accumulation_steps}"
    fp8 = " · FP8" if train.fp8 else ""
    return (
        f"{numbers.rate(train.learning_rate)} · batch {batch} = {config.effective_batch} · "
        f"{length} · {train.lr_scheduler_type}{fp8}"
    )
