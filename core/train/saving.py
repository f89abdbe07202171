"""The part of the durable trainer that writes checkpoints and reads them back."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from core.config.errors import FailedError, RefusedError
from core.record import events as ev
from core.record.job import Job
from core.train import checkpoint, guards
from core.train.tally import Tally

_LOG_ENTRIES = 10_000
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# torch and safetensors tell a failed write without an errno.
_CANNOT_WRITE = ("No space left", "PytorchStreamWriter", "inline_container", "I/O error")


def trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The tensors that learn, by name."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def on_host(model: torch.nn.Module, state: dict[str, Any] | None) -> dict[str, Any]:
    """The model's state with what learns in the host's memory.

    Tensors that share memory are copied before they are written: on the device there may be no room
    left for that (0.8 GiB for the adapter of a 70B).
    """
    learning = {name for name, _ in trained(model)}
    found = model.state_dict() if state is None else state
    return {name: value.cpu() if name in learning else value for name, value in found.items()}


class SavingMixin:
    """Saves whole or not at all, goes on when the disk is full, loads without changing a bit."""

    # What the trainer itself brings; named here for those who read and for the type checker.
    args: Any
    state: Any
    control: Any
    model: Any
    processing_class: Any
    job: Job
    tally: Tally

    def __init__(self, *, job: Job, tally: Tally, **kwargs: Any):
        self.job = job
        self.tally = tally
        self._staging: Path | None = None
        self._saved_step = tally.step
        self._saved_best = (tally.best_step, tally.best_loss)
        self._saved_bytes = 0
        super().__init__(**kwargs)

    def away(self, stage: str) -> AbstractContextManager[None]:
        """Do something that is not training."""
        raise NotImplementedError

    def _get_output_dir(self, trial: Any = None) -> str:
        if self._staging is not None:
            return str(self._staging)
        return str(super()._get_output_dir(trial))  # type: ignore[misc]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapter and its tokenizer; not the arguments, which would hold tokens in clear."""
        folder = Path(output_dir or self.args.output_dir)
        state_dict = on_host(self.model, state_dict)
        # "auto" would ask the hub whether the base has a config.json, at every save.
        self.model.save_pretrained(folder, state_dict=state_dict, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        self.processing_class.save_pretrained(folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save this step once, whole or not at all; a full disk does not end the training."""
        step = self.state.global_step
        if step == self._saved_step:
            return
        with self.away("saving"):
            self._refuse_broken_adapter(step)
            started = time.monotonic()
            try:
                size = self._write_checkpoint(model, trial, step)
            except torch.OutOfMemoryError:
                raise
            except (OSError, RuntimeError, SafetensorError) as error:
                self._save_failed(step, error)
                return
            seconds = time.monotonic() - started
        self._saved_step, self._saved_bytes = step, size
        self._saved_best = (self.tally.best_step, self.tally.best_loss)
        best = self.tally.best_step == step
        name = self.job.folder.checkpoint(step).name
        self.job.emit(
            ev.CheckpointSaved(step=step, name=name, size_bytes=size, seconds=seconds, best=best)
        )
        self._retain(step)

    def _write_checkpoint(self, model: Any, trial: Any, step: int) -> int:
        folder = self.job.folder
        self.state.best_global_step = self.tally.best_step
        self.state.best_metric = self.tally.best_loss
        best = self.tally.best_step
        self.state.best_model_checkpoint = str(folder.checkpoint(best)) if best else None
        # The journal has it all; every checkpoint would carry the whole curve otherwise.
        del self.state.log_history[:-_LOG_ENTRIES]
        self._staging = checkpoint.staging(folder.path, step)
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            written = self._staging / folder.checkpoint(step).name
            self.tally.save(written)
            size = checkpoint.seal(written, step)
            checkpoint.commit(written, folder.checkpoint(step))
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None
        return size

    def _refuse_broken_adapter(self, step: int) -> None:
        finite = torch.stack([p.detach().isfinite().all() for _, p in trained(self.model)]).all()
        if not finite.item():
            raise guards.diverged(
                f"the adapter has values that are no numbers at step {step}: it was not saved, "
                "the earlier checkpoints are untouched"
            )

    def _save_failed(self, step: int, error: Exception) -> None:
        """Go on with what is in memory; give up only when there is no next save."""
        number = getattr(error, "errno", None)
        text = str(error) or type(error).__name__
        if not isinstance(error, OSError) and not any(word in text for word in _CANNOT_WRITE):
            raise error
        self.tally.best_step, self.tally.best_loss = self._saved_best
        run = self.job.folder.path
        free = shutil.disk_usage(run).free
        full = number in _NO_ROOM or "No space left" in text or free < self._saved_bytes
        message = guards.disk_full(step, free, self._saved_bytes) if full else (
            f"the checkpoint of step {step} could not be saved: {text.splitlines()[0]}. Earlier "
            "checkpoints are untouched; the next save tries again"
        )  # fmt: skip
        kind = "disk_full" if full else "save_failed"
        self.job.emit(ev.GuardTripped(guard=kind, step=step, message=message))
        if step >= self.state.max_steps or self.control.should_training_stop:
            remedies = (f"free some space under {run}, then resume: finetui resume {run.name}",)
            raise FailedError(message, kind=kind, remedies=remedies) from error

    def _retain(self, step: int) -> None:
        limit = self.job.config.train.save_total_limit
        try:
            checkpoint.retain(self.job.folder.path, step, self.tally.best_step, limit)
        except OSError as error:
            self.job.log(f"an old checkpoint could not be removed: {error}", "warning")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the adapter without changing its precision, which the stock trainer does."""
        names = {name for name, _ in trained(self.model)}
        if names != set(self.tally.dtypes):
            odd = sorted(names ^ set(self.tally.dtypes))[0]
            raise RefusedError(
                f"{Path(resume_from_checkpoint).name} trains other tensors than this run, such as "
                f"{odd}",
                kind="changed",
                remedies=("start a new run",),
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        for name, parameter in trained(self.model):
            dtype = getattr(torch, self.tally.dtypes[name].removeprefix("torch."))
            parameter.data = parameter.data.to(dtype)
