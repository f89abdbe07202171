"""What to do next, while there is nothing to draw: the steps to a training, each with its key."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.widget import Widget

from core.config.counted import counted
from tui.inert import inert
from tui.nearby import DATA


@dataclass(frozen=True)
class Steps:
    """How far the way to a first training is. Texts are empty where nothing is chosen yet."""

    data: str = ""
    model: str = ""
    wrong: str = ""
    """Names of the settings that are wrong."""
    runs: int = 0


class Guide(Widget):
    """The steps to a training. Shown in place of the curves before there is a run."""

    DEFAULT_CSS = "Guide { height: 1fr; padding: 1 2; }"

    def __init__(self) -> None:
        super().__init__()
        self._steps = Steps()

    def show(self, steps: Steps) -> None:
        """Show how far the way is."""
        if steps != self._steps:
            self._steps = steps
            self.refresh()

    def render(self) -> Content:
        steps = self._steps
        ready = bool(steps.data and steps.model and not steps.wrong)
        lines = [
            Content.styled("Fine-tune a language model in three steps", "bold"),
            Content(""),
            _line("o", "training data", steps.data, DATA),
            Content(""),
            _line("b", "base model", steps.model, "a model folder, or a name on the hub"),
            Content(""),
            _last_line(ready, steps.wrong),
            Content(""),
        ]
        if not (steps.data and steps.model):
            lines.append(_offer("d", "try the demo first: small model and data included"))
        if steps.runs:
            lines.append(
                _offer("5", f"see {counted(steps.runs, 'run that is here', 'runs that are here')}")
            )
        lines += [
            _offer("2", "look at the settings, or change them"),
            _offer("?", "every key"),
        ]
        return Content("\n").join(lines)


def _line(key: str, what: str, chosen: str, hint: str) -> Content:
    mark = ("✓", "bold $success") if chosen else ("·", "$foreground 50%")
    text = (inert(chosen), "$foreground") if chosen else (hint, "$foreground 60%")
    return Content.assemble((f" {key} ", "bold reverse $accent"), " ", mark, f" {what:<15}", text)


def _last_line(ready: bool, wrong: str) -> Content:
    style = "bold reverse $accent" if ready else "$foreground 50%"
    if wrong:
        text = (f"first correct {inert(wrong)} (2)", "$error")
    elif ready:
        text = ("press t: everything is there", "bold $foreground")
    else:
        text = ("when both are chosen", "$foreground 60%")
    return Content.assemble((" t ", style), "   ", f"{'start training':<15}", text)


def _offer(key: str, text: str) -> Content:
    return Content.assemble((f" {key} ", "$accent"), (f" {text}", "$foreground 70%"))
