"""Where a run stands, folded from its journal. The screen, ``show`` and ``runs`` all use this."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.config.errors import RefusedError
from core.record import events as ev
from core.record.folder import RunFolder
from core.record.journal import read
from core.record.lock import holder

LIVE = ("starting", "running", "paused", "restarting")
SHAPING = ("prepare", "train")
"""Jobs that a run's status is about; the others only look at what these left."""


@dataclass
class RunState:
    """The newest facts of a run.

    ``status`` is what the journal says: new, prepared, starting, running, paused, restarting,
    finished, stopped or failed. Whether anybody is still there, ``status_of`` says. A merge or a
    generation leaves a run where its training left it; only ``failure`` tells of theirs.
    """

    status: str = "new"
    job: str = ""
    stage: str = ""
    attempt: int = 0
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: int = 0
    tokens_per_second: float | None = None
    step_seconds: float | None = None
    eval_loss: float | None = None
    best_eval_loss: float | None = None
    best_step: int | None = None
    device: str = ""
    engine_host: str = ""
    model: ev.ModelLoaded | None = None
    data: ev.DataPrepared | None = None
    resumed: ev.Resumed | None = None
    progress: ev.Progressed | None = None
    checkpoints: list[str] = field(default_factory=list)
    trained: bool = False
    """Training reached its end at least once, so that there is an adapter to deliver."""
    merged: ev.Merged | None = None
    compared: ev.AnswersCompared | None = None
    failure: ev.JobFailed | None = None
    stopped_reason: str = ""
    updated: float = 0.0
    _rest: str = "new"
    """Where the run stood before the job that runs now."""

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def remaining_seconds(self) -> float | None:
        """Time to the last step at the newest step time; None while that is not known."""
        if self.step_seconds is None or not self.total_steps or self.status != "running":
            return None
        return max(0, self.total_steps - self.step) * self.step_seconds

    def apply(self, record: ev.Record) -> None:
        """Take one more record into account."""
        self.attempt = max(self.attempt, record.attempt)
        self.updated = record.time
        handler = getattr(self, f"_on_{type(record.event).__name__}", None)
        if handler is not None:
            handler(record.event)

    def _on_HostStarted(self, event: ev.HostStarted) -> None:  # noqa: N802
        self._rest = "interrupted" if self.live else self.status
        self.status, self.job, self.stage = "starting", event.job, ""
        self.failure, self.stopped_reason, self.progress = None, "", None

    def _on_WorkerStarted(self, event: ev.WorkerStarted) -> None:  # noqa: N802
        self.status = "starting"
        self.device, self.engine_host = event.device, event.engine_host

    def _on_WorkerExited(self, event: ev.WorkerExited) -> None:  # noqa: N802
        self.status = "restarting" if event.will_restart else "failed"

    def _on_JobStarted(self, event: ev.JobStarted) -> None:  # noqa: N802
        self.status, self.job, self.failure, self.stopped_reason = "running", event.job, None, ""

    def _on_StageChanged(self, event: ev.StageChanged) -> None:  # noqa: N802
        self.stage, self.progress = event.stage, None
        if self.job == "merge" and event.stage == "merging":
            self.merged = self.compared = None  # what was there is gone, or it would be refused

    def _on_Progressed(self, event: ev.Progressed) -> None:  # noqa: N802
        self.progress = event

    def _on_DataPrepared(self, event: ev.DataPrepared) -> None:  # noqa: N802
        self.data = event

    def _on_ModelLoaded(self, event: ev.ModelLoaded) -> None:  # noqa: N802
        self.model = event

    def _on_TrainingStarted(self, event: ev.TrainingStarted) -> None:  # noqa: N802
        self.total_steps, self.step = event.total_steps, event.from_step

    def _on_Resumed(self, event: ev.Resumed) -> None:  # noqa: N802
        self.resumed, self.step = event, event.from_step

    def _on_StepDone(self, event: ev.StepDone) -> None:  # noqa: N802
        self.step, self.epoch, self.loss = event.step, event.epoch, event.loss
        self.learning_rate, self.grad_norm = event.learning_rate, event.grad_norm
        self.tokens, self.tokens_per_second = event.tokens, event.tokens_per_second
        self.step_seconds = event.step_seconds

    def _on_EvalDone(self, event: ev.EvalDone) -> None:  # noqa: N802
        self.eval_loss = event.loss
        if event.best:
            self.best_eval_loss, self.best_step = event.loss, event.step

    def _on_CheckpointSaved(self, event: ev.CheckpointSaved) -> None:  # noqa: N802
        if event.name not in self.checkpoints:
            self.checkpoints.append(event.name)

    def _on_Paused(self, event: ev.Paused) -> None:  # noqa: N802
        self.status = "paused"

    def _on_Continued(self, event: ev.Continued) -> None:  # noqa: N802
        self.status = "running"

    def _on_Merged(self, event: ev.Merged) -> None:  # noqa: N802
        self.merged = event

    def _on_AnswersCompared(self, event: ev.AnswersCompared) -> None:  # noqa: N802
        self.compared = event

    def _on_JobFinished(self, event: ev.JobFinished) -> None:  # noqa: N802
        self.trained = self.trained or event.job == "train"
        self._end({"train": "finished", "prepare": "prepared"}.get(event.job, self._rest))

    def _on_JobStopped(self, event: ev.JobStopped) -> None:  # noqa: N802
        self.stopped_reason = event.reason
        self._end("stopped" if event.job in SHAPING else self._rest)

    def _on_JobFailed(self, event: ev.JobFailed) -> None:  # noqa: N802
        self.failure = event
        refused = event.exit_code == RefusedError.exit_code  # nothing was changed
        self._end("failed" if event.job in SHAPING and not refused else self._rest)

    def _end(self, status: str) -> None:
        self.status, self.progress = status, None


def state_of(folder: RunFolder) -> RunState:
    """Read a run's whole journal and say where it stands now."""
    state = RunState()
    for record in read(folder.events):
        state.apply(record)
    state.status = status_of(folder, state)
    # Retention removes checkpoints without an event of its own.
    state.checkpoints = [name for name in state.checkpoints if (folder.path / name).is_dir()]
    return state


def status_of(folder: RunFolder, state: RunState) -> str:
    """The journal's status, corrected for a run whose processes are gone: ``interrupted``."""
    if state.live and holder(folder.lock) is None:
        return "interrupted"
    return state.status
