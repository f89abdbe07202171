"""What the GPU does: memory by owner in GiB, load, heat, power. Without one: why, and the process.

Every number stands where it stood before; what is not known is a dash.
"""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget

from core.record import events as ev
from tui import numbers
from tui.glyphs import BRAILLE, GlyphSet
from tui.inert import inert
from tui.session import Session
from tui.widgets.meter import bar, spark

_NONE = "no reading yet: they begin with the run"


class GpuPanel(Widget):
    """Four lines for one GPU; one line each when a run has several."""

    DEFAULT_CSS = """
    GpuPanel {
        height: auto;
        border-top: solid $border;
        border-title-color: $foreground 70%;
        border-title-background: $background;
    }
    """

    def __init__(self, glyphs: GlyphSet = BRAILLE) -> None:
        super().__init__(id="gpu")
        self.glyphs = glyphs
        self._session: Session | None = None

    def show(self, session: Session) -> None:
        """Show the newest readings of a session."""
        self._session = session
        self.border_title = Content(inert(self._title(session)))
        self.refresh(layout=True)

    def render(self) -> Content:
        if self._session is None:
            return Content.styled(_NONE, "$foreground 60%")
        session = self._session
        if len(session.gpus) == 1:
            lines = self._one(next(iter(session.gpus.values())))
        elif session.gpus:
            lines = [self._short(gpu) for gpu in session.gpus.values()]
        elif session.process is not None:
            lines = self._process(session.process)
        else:
            lines = [Content.styled(_NONE, "$foreground 60%")]
        return Content("\n").join([*lines, self._training()])

    def _title(self, session: Session) -> str:
        if len(session.gpus) == 1:
            gpu = next(iter(session.gpus.values()))
            about = " (estimate: the container hides process ids)" if gpu.ours_is_estimate else ""
            return (
                f"GPU {gpu.index}  {gpu.name} ── ours {numbers.gib(gpu.ours_bytes)} GiB{about} · "
                f"others {numbers.gib(gpu.others_bytes)} · total {numbers.gib(gpu.total_bytes)}"
            )
        if session.gpus:
            return f"{len(session.gpus)} GPUs"
        return session.process.why if session.process is not None else "GPU"

    def _one(self, gpu: ev.GpuSampled) -> list[Content]:
        used = _share(max(0, gpu.ours_bytes) + max(0, gpu.others_bytes), gpu.total_bytes)
        load = gpu.utilization_percent if gpu.utilization_percent >= 0 else None
        return [
            Content.assemble(
                ("VRAM ", "$foreground 60%"),
                self._bar(used, 20),
                f" {_percent(used)}",
                ("     load ", "$foreground 60%"),
                self._spark(16),
                f" {_percent(None if load is None else load / 100)}",
            ),
            Content.assemble(
                ("temp ", "$foreground 60%"),
                f"{_known(gpu.temperature_celsius, 3)} °C",
                ("     power ", "$foreground 60%"),
                f"{_known(gpu.power_watts, 4)} of {_known(gpu.power_limit_watts, 0)} W",
            ),
        ]

    def _short(self, gpu: ev.GpuSampled) -> Content:
        return Content.assemble(
            (f"GPU {gpu.index} ", "$foreground 60%"),
            self._bar(_share(gpu.ours_bytes, gpu.total_bytes), 12),
            f" ours {numbers.gib(gpu.ours_bytes):>5}  others {numbers.gib(gpu.others_bytes):>5}"
            f"  of {numbers.gib(gpu.total_bytes)} GiB  {_known(gpu.utilization_percent, 3)} %"
            f"  {_known(gpu.temperature_celsius, 3)} °C  {_known(gpu.power_watts, 4)} W",
        )

    def _process(self, process: ev.ProcessSampled) -> list[Content]:
        used = _share(process.rss_bytes, process.total_bytes)
        return [
            Content.assemble(
                ("process memory ", "$foreground 60%"),
                self._bar(used, 20),
                f" {numbers.gib(process.rss_bytes):>5} GiB of {numbers.gib(process.total_bytes)}",
                (f"  ({numbers.gib(process.available_bytes)} free)", "$foreground 60%"),
            ),
            Content.assemble(
                ("process load   ", "$foreground 60%"),
                self._spark(20),
                f" {_known(process.cpu_percent, 5)} % of a core",
            ),
        ]

    def _training(self) -> Content:
        assert self._session is not None
        state = self._session.state
        return Content.assemble(
            ("lr ", "$foreground 60%"),
            f"{numbers.rate(state.learning_rate):<8}",
            ("  grad norm ", "$foreground 60%"),
            f"{numbers.loss(state.grad_norm):<7}",
            ("  tokens ", "$foreground 60%"),
            f"{numbers.short(state.tokens):<7}",
            ("  best eval ", "$foreground 60%"),
            f"{numbers.loss(state.best_eval_loss)}",
        )

    def _bar(self, share: float | None, width: int) -> Content:
        return bar(share, width, self.glyphs)

    def _spark(self, width: int) -> Content:
        loads = list(self._session.loads) if self._session else []
        return spark(loads, width, self.glyphs, low=0.0, high=max([1.0, *loads]))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 and part >= 0 else None


def _percent(share: float | None) -> str:
    return "  – %" if share is None else f"{100 * share:3.0f} %"


def _known(value: float, width: int) -> str:
    return ("–" if value < 0 else f"{value:.0f}").rjust(width)
