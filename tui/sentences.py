"""What the log pane says about each event: one sentence a person can read, and its level."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

from core.config.counted import counted
from core.record import events as ev
from tui import numbers

Sentence = tuple[str, str]
"""Level (info, warning or error) and text."""


def sentence(event: ev.Event) -> Sentence | None:
    """The line for an event; None for what the panes show elsewhere, such as meters."""
    return _told(event)


@singledispatch
def _told(event: ev.Event) -> Sentence | None:
    return None


def _tells(kind: type[ev.Event]) -> Callable[[Callable[..., Sentence]], Callable[..., Sentence]]:
    def register(function: Callable[..., Sentence]) -> Callable[..., Sentence]:
        _told.register(kind, function)
        return function

    return register


@_tells(ev.LineLogged)
def _logged(event: ev.LineLogged) -> Sentence:
    return event.level, event.text


@_tells(ev.JobStarted)
def _started(event: ev.JobStarted) -> Sentence:
    return "info", f"{event.job} started"


@_told.register
def _stage(event: ev.StageChanged) -> Sentence | None:
    # These come and go all the time; what they do has a line of its own.
    if event.stage in ("training", "evaluating", "saving") and not event.detail:
        return None
    return "info", f"{event.stage}: {event.detail}" if event.detail else event.stage


@_tells(ev.WorkerExited)
def _exited(event: ev.WorkerExited) -> Sentence:
    after = f"; starting again in {event.delay_seconds:.0f} s" if event.will_restart else ""
    return "error", f"the worker died: {event.reason}{after}"


@_tells(ev.DataPrepared)
def _prepared(event: ev.DataPrepared) -> Sentence:
    cut = f", {numbers.count(event.truncated)} cut" if event.truncated else ""
    rejected = f", {numbers.count(event.rejected)} rejected" if event.rejected else ""
    return (
        "warning" if event.rejected else "info",
        f"data ready: {counted(event.read, 'row')} read, {numbers.count(event.train_rows)} to "
        f"train, {numbers.count(event.eval_rows)} held out{rejected}{cut}; "
        f"{numbers.count(event.loss_tokens)} of {numbers.count(event.tokens)} tokens carry loss",
    )


@_tells(ev.ModelLoaded)
def _loaded(event: ev.ModelLoaded) -> Sentence:
    share = 100 * event.trainable / event.parameters if event.parameters else 0.0
    return "info", (
        f"model ready in {event.seconds:.1f} s: {event.quantization}, {event.compute_dtype} on "
        f"{event.device}; trains {numbers.short(event.trainable)} of "
        f"{numbers.short(event.parameters)} weights ({share:.2f} %); {event.path}: {event.why}"
    )


@_tells(ev.TrainingStarted)
def _training(event: ev.TrainingStarted) -> Sentence:
    start = f"from step {event.from_step} " if event.from_step else ""
    epochs = counted(event.epochs, "epoch")
    return "info", f"training {start}to step {event.total_steps}, {epochs}"


@_tells(ev.StepDone)
def _step(event: ev.StepDone) -> Sentence:
    return "info", (
        f"step {event.step}  loss {numbers.loss(event.loss)}  "
        f"lr {numbers.rate(event.learning_rate)}  grad {numbers.loss(event.grad_norm)}"
    )


@_tells(ev.EvalDone)
def _eval(event: ev.EvalDone) -> Sentence:
    best = "  best so far" if event.best else ""
    return "info", (
        f"eval at step {event.step}: loss {numbers.loss(event.loss)} on "
        f"{counted(event.rows, 'row')} in {event.seconds:.1f} s{best}"
    )


@_tells(ev.CheckpointSaved)
def _saved(event: ev.CheckpointSaved) -> Sentence:
    return "info", (
        f"saved {event.name} (verified, {numbers.size(event.size_bytes)}, {event.seconds:.1f} s)"
    )


@_tells(ev.CheckpointRejected)
def _rejected(event: ev.CheckpointRejected) -> Sentence:
    return "warning", f"passed over {event.name}: {event.reason}"


@_tells(ev.Resumed)
def _resumed(event: ev.Resumed) -> Sentence:
    if event.tier == "E":
        exact = "exact: the end is the same, bit for bit"
    else:
        exact = "same state; the bits may differ: " + "; ".join(event.reasons)
    return "info", f"resumed from {event.checkpoint} at step {event.from_step} ({exact})"


@_tells(ev.Paused)
def _paused(event: ev.Paused) -> Sentence:
    return "info", f"paused at step {event.step}; GPU memory stays taken"


@_tells(ev.Continued)
def _continued(event: ev.Continued) -> Sentence:
    return "info", f"going on at step {event.step}"


@_tells(ev.GuardTripped)
def _guard(event: ev.GuardTripped) -> Sentence:
    return "warning", f"step {event.step}: {event.message}"


@_tells(ev.CommandAnswered)
def _answered(event: ev.CommandAnswered) -> Sentence:
    if event.accepted:
        return "info", f"{event.command}: heard"
    return "warning", f"{event.command} was not done: {event.reason}"


@_tells(ev.AnswersCompared)
def _compared(event: ev.AnswersCompared) -> Sentence:
    return "info", (
        f"answers exactly as expected: base {event.base_matches}, merged {event.merged_matches} "
        f"of {event.rows}"
    )


@_tells(ev.Merged)
def _merged(event: ev.Merged) -> Sentence:
    return "info", (
        f"merged model at {event.path} ({numbers.size(event.size_bytes)}, {event.seconds:.1f} s)"
    )


@_tells(ev.JobFinished)
def _finished(event: ev.JobFinished) -> Sentence:
    return "info", f"{event.job} finished"


@_tells(ev.JobStopped)
def _stopped(event: ev.JobStopped) -> Sentence:
    saved = f"; saved {event.saved}" if event.saved else ""
    return "info", f"{event.job} stopped at step {event.step}: {event.reason}{saved}"


@_tells(ev.JobFailed)
def _failed(event: ev.JobFailed) -> Sentence:
    todo = " What to do: " + "; ".join(event.remedies) if event.remedies else ""
    return "error", f"{event.job} failed: {event.message}.{todo}"
