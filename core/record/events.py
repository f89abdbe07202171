"""What can happen in a run. Events are past tense and hold only plain numbers and strings.

An event is the payload; a Record is one line of the journal: the event with its sequence number,
time, attempt and stage. Field names are part of the file format: add fields with defaults, never
rename.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

SCHEMA = 1
"""Version of the journal's format, in its first line."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events. ``kinds`` maps a class name to its class, for reading."""

    kinds: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        Event.kinds[cls.__name__] = cls


@dataclass(frozen=True, kw_only=True)
class JournalOpened(Event):
    """First line of a journal."""

    schema: int
    run: str


@dataclass(frozen=True, kw_only=True)
class HostStarted(Event):
    """A host took the run's lock."""

    pid: int
    job: str


@dataclass(frozen=True, kw_only=True)
class WorkerStarted(Event):
    """An attempt began. ``engine_host`` is process or thread."""

    pid: int
    engine_host: str
    device: str
    device_uuid: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerExited(Event):
    """A worker ended on its own account: crashed, was killed, or was lost with its machine."""

    pid: int
    reason: str
    will_restart: bool
    delay_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class JobStarted(Event):
    """The engine began a job: prepare, train, merge or generate."""

    job: str


@dataclass(frozen=True, kw_only=True)
class StageChanged(Event):
    """The job went on to its next stage, such as reading, tokenizing, loading, training."""

    stage: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Progressed(Event):
    """How far a long stage is. ``total`` 0 means unknown."""

    done: int
    total: int
    unit: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class DataPrepared(Event):
    """The data set was frozen. read = kept + rejected; kept = train_rows + eval_rows."""

    read: int
    kept: int
    rejected: int
    train_rows: int
    eval_rows: int
    train_sequences: int
    tokens: int
    loss_tokens: int
    truncated: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ModelLoaded(Event):
    """Base and adapter are ready. ``path`` says which training path runs, ``why`` its reason.

    ``fp8``: it multiplies in FP8, not in ``compute_dtype``.
    """

    name: str
    parameters: int
    trainable: int
    quantization: str
    compute_dtype: str
    device: str
    path: str
    why: str
    seconds: float
    fp8: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainingStarted(Event):
    """The first step is about to run. ``from_step`` is above 0 after a resume."""

    total_steps: int
    from_step: int
    epochs: float
    steps_per_epoch: float


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """One optimizer step, or the mean over ``logging_steps`` of them.

    ``loss`` is per token that carries loss; ``tokens`` counts all non-padding tokens so far.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    tokens: int
    step_seconds: float
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class EvalDone(Event):
    """Held-out loss at a step. ``best``: the lowest so far."""

    step: int
    loss: float
    rows: int
    seconds: float
    best: bool


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU at one moment, from NVML. -1 means that NVML does not tell.

    ``ours_bytes`` is what the watched processes hold. Where a container hides process ids it is
    the device's use minus the use when the sampler began, and ``ours_is_estimate`` is true.
    """

    index: int
    uuid: str
    name: str
    ours_bytes: int
    others_bytes: int
    total_bytes: int
    utilization_percent: float
    temperature_celsius: float
    power_watts: float
    power_limit_watts: float
    ours_is_estimate: bool = False


@dataclass(frozen=True, kw_only=True)
class GpuSampled(GpuReading, Event):
    """A reading of a GPU while a step was trained."""

    step: int


@dataclass(frozen=True, kw_only=True)
class ProcessReading:
    """The watched processes on the host: resident memory, processor use (100 is one core).

    ``why`` says why this stands in for a GPU; empty where it stands beside one.
    """

    rss_bytes: int
    available_bytes: int
    total_bytes: int
    cpu_percent: float
    why: str


@dataclass(frozen=True, kw_only=True)
class ProcessSampled(ProcessReading, Event):
    """A reading of the worker itself while a step was trained."""

    step: int


@dataclass(frozen=True, kw_only=True)
class LineLogged(Event):
    """A line for the log pane. ``level`` is info, warning or error."""

    level: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CheckpointSaved(Event):
    """A checkpoint is complete and verified under its final name."""

    step: int
    name: str
    size_bytes: int
    seconds: float
    best: bool


@dataclass(frozen=True, kw_only=True)
class CheckpointRejected(Event):
    """A checkpoint did not verify and was passed over."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """Training goes on from a checkpoint. Earlier attempts' steps above ``from_step`` are void.

    ``tier`` E: the end is bit-identical to an uninterrupted run; S: the restored state is equal,
    and ``reasons`` say why the bits may differ.
    """

    from_step: int
    tier: str
    checkpoint: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Paused(Event):
    """Training waits; GPU memory stays taken."""

    step: int


@dataclass(frozen=True, kw_only=True)
class Continued(Event):
    """Training goes on after a pause."""

    step: int


@dataclass(frozen=True, kw_only=True)
class GuardTripped(Event):
    """A guard saw something wrong and acted, as ``message`` says."""

    guard: str
    step: int
    message: str


@dataclass(frozen=True, kw_only=True)
class CommandAnswered(Event):
    """The one acknowledgement of a command."""

    command_id: str
    command: str
    accepted: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SampleGenerated(Event):
    """An answer of a model. ``model`` is base, adapter or merged."""

    index: int
    model: str
    prompt: str
    expected: str
    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AnswersCompared(Event):
    """How many held-out rows base and merged model answered exactly as expected."""

    rows: int
    base_matches: int
    merged_matches: int


@dataclass(frozen=True, kw_only=True)
class Merged(Event):
    """The merged model is complete at ``path``."""

    path: str
    size_bytes: int
    seconds: float
    serve_command: str


@dataclass(frozen=True, kw_only=True)
class JobFinished(Event):
    """The job did all it was asked. ``result`` holds plain facts, such as the adapter's sha256."""

    job: str
    result: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobStopped(Event):
    """The job ended early because somebody asked, or because early stopping did."""

    job: str
    step: int
    reason: str
    saved: str = ""


@dataclass(frozen=True, kw_only=True)
class JobFailed(Event):
    """The job could not be done: what happened, and what to do about it.

    ``exit_code`` is what a command line ends with: 1 failed, 2 bad input, 3 refused.
    """

    job: str
    kind: str
    message: str
    remedies: tuple[str, ...] = ()
    exit_code: int = 1


@dataclass(frozen=True)
class Record:
    """One line of the journal."""

    seq: int
    time: float
    attempt: int
    stage: str
    event: Event

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: the envelope first, then the event's fields."""
        head = {
            "seq": self.seq,
            "time": round(self.time, 3),
            "attempt": self.attempt,
            "stage": self.stage,
            "type": type(self.event).__name__,
        }
        # StageChanged has a field of the envelope's name; the payload keeps its own room.
        return head | {"event": dataclasses.asdict(self.event)}


def from_dict(line: dict[str, Any]) -> Record | None:
    """A record from its JSON form; None for a kind this version does not know.

    Unknown fields, from a newer version, are passed over. Raises KeyError or TypeError when the
    line is not a record at all.
    """
    kind = Event.kinds.get(line["type"])
    if kind is None:
        return None
    known = {f.name for f in dataclasses.fields(kind)}
    values = {key: value for key, value in line["event"].items() if key in known}
    for key, value in values.items():
        if isinstance(value, list):
            values[key] = tuple(value)
    return Record(line["seq"], line["time"], line["attempt"], line["stage"], kind(**values))
