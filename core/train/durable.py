"""What makes a Hugging Face trainer durable: exact resume, atomic saves, commands, true numbers.

``DurableMixin`` goes in front of one of TRL's trainers. It owns when to log, evaluate, save and
stop, and replaces what would make a resumed run another run.
"""

from __future__ import annotations

import errno
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import PrinterCallback, TrainerCallback

from core.config.errors import FailedError, RefusedError
from core.record import events as ev
from core.record.job import Job
from core.train import checkpoint, guards
from core.train.tally import Tally

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CANNOT_WRITE = ("No space left", "PytorchStreamWriter", "inline_container", "I/O error")
_SECONDS_BETWEEN_REPORTS = 1.0


class DurableMixin:
    """Give it ``job`` and ``tally`` beside the trainer's own arguments.

    The job hears everything as events and is looked at for commands; the tally is what a resume
    continues, freshly made or read from the checkpoint that ``train`` is given.
    """

    # compute_loss divides by the label tokens of the whole step, so nobody else has to.
    loss_is_scaled_for_ga = True

    # What the trainer itself brings; named here for those who read and for the type checker.
    args: Any
    state: Any
    control: Any
    model: Any
    accelerator: Any
    callback_handler: Any
    eval_dataset: Any
    processing_class: Any

    def __init__(self, *, job: Job, tally: Tally, **kwargs: Any):
        self.job = job
        self.tally = tally
        self.stop_reason = ""
        """Why training ended before its last step; empty when it did not."""
        self._guard = guards.NumberGuard(tally.skipped_in_a_row)
        self._step_loss: torch.Tensor | None = None
        self._grad_norm: torch.Tensor | None = None
        self._shown_grad_norm = math.nan
        self._step_tokens = self._step_label_tokens = 0
        self._staging: Path | None = None
        self._saved_step = tally.step
        self._saved_best = (tally.best_step, tally.best_loss)
        self._saved_bytes = 0
        self._clock = _Clock()
        # TRL rounds the adapters of a quantized base to bf16, which loses small updates.
        exact = {name: p.detach().clone() for name, p in _trained(kwargs["model"])}
        super().__init__(**kwargs)
        for name, parameter in _trained(self.model):
            parameter.data = exact[name]
        tally.dtypes = tally.dtypes or {name: str(p.dtype) for name, p in _trained(self.model)}
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        self.add_callback(_Flow(self))  # type: ignore[attr-defined]

    # --- nothing leaves the machine, nothing is written that nobody asked for ---

    def _send_telemetry(self) -> None:
        """TRL would report every training to its makers."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Cards are written when an adapter is delivered."""

    # --- one step ---

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> int:
        """Label tokens of all micro-batches of the coming step, counted without the GPU."""
        self._step_tokens = sum(batch["tokens"] for batch in batch_samples)
        self._step_label_tokens = sum(batch["label_tokens"] for batch in batch_samples)
        return self._step_label_tokens

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.job.control.check()
        loss: torch.Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        self._step_loss = loss if self._step_loss is None else self._step_loss + loss
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        self._grad_norm = super()._clip_grad_norm(model)  # type: ignore[misc]
        return self._grad_norm

    def before_update(self) -> None:
        """Let the guard see this step's numbers, and drop an update that it refuses.

        The one moment of a step that waits for the GPU: whether to update is a decision of ours.
        """
        assert self._step_loss is not None
        assert self._grad_norm is not None
        loss, norm = torch.stack(
            [
                self._step_loss.double(),
                torch.as_tensor(self._grad_norm).to(self._step_loss).double(),
            ]
        ).tolist()
        self._step_loss = None
        step = self.state.global_step + 1
        # With fp16 an infinite norm is everyday: the loss scaler skips the update and backs off.
        scaled = getattr(self.accelerator, "scaler", None) is not None
        message = self._guard.judge(step, loss, 0.0 if scaled else norm)
        self.tally.skipped_in_a_row = self._guard.skipped_in_a_row
        self._shown_grad_norm = norm
        if message is None:
            self.tally.window_loss += loss * self._step_label_tokens
            self.tally.window_label_tokens += self._step_label_tokens
            return
        for _, parameter in _trained(self.model):
            parameter.grad = None
        self._tr_loss = torch.zeros_like(self._tr_loss)
        self.job.emit(ev.GuardTripped(guard="not_a_number", step=step, message=message))

    # --- the course of the run ---

    def on_begin(self) -> None:
        """The first step of this attempt is about to run."""
        self.tally.total_steps = self.state.max_steps
        epochs = self.state.max_steps / self._steps_per_epoch
        self.job.emit(
            ev.TrainingStarted(
                total_steps=self.state.max_steps,
                from_step=self.state.global_step,
                epochs=round(epochs, 4),
                steps_per_epoch=self._steps_per_epoch,
            )
        )
        self.job.stage("training")
        self._clock.restart()

    @property
    def _steps_per_epoch(self) -> int:
        batches = math.ceil(len(self.train_dataset) / self.args.train_batch_size)
        return max(1, math.ceil(batches / self.args.gradient_accumulation_steps))

    train_dataset: Any

    def after_step(self, control: TrainerControl) -> None:
        """Decide what happens at the end of this step: log, evaluate, save, stop."""
        step = self.state.global_step
        config = self.job.config
        self.job.step = self.tally.step = step
        self.tally.tokens += self._step_tokens
        self.tally.window_steps += 1
        self._clock.count(self._step_tokens)
        last = step >= self.state.max_steps
        stop = "" if last else self.job.control.stop_reason
        control.should_log |= last or bool(stop)
        control.should_evaluate = self._evaluation_is_due(step, last)
        control.should_save = (
            self.job.control.take_save()
            or last
            or bool(stop)
            or (config.train.save_steps > 0 and step % config.train.save_steps == 0)
        )
        if stop:
            self._stop(stop, control)

    def _stop(self, reason: str, control: TrainerControl) -> None:
        self.stop_reason = reason
        control.should_training_stop = True

    def _evaluation_is_due(self, step: int, last: bool) -> bool:
        wish = self.job.config.evaluate
        if self.eval_dataset is None or wish.eval_strategy == "no":
            return False
        if wish.eval_strategy == "epoch":
            # The trainer computes whole epochs as epoch + n/n, which is exact.
            return last or float(self.state.epoch).is_integer()
        return last or step % wish.eval_steps == 0

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)  # type: ignore[misc]
        # A pause comes when the step is wholly over, so that a save in it misses nothing.
        self._wait_while_paused()

    def _wait_while_paused(self) -> None:
        control = self.job.control
        if not control.paused or self.control.should_training_stop:
            return
        self.job.emit(ev.Paused(step=self.state.global_step))
        with self._clock.stopped():
            while control.wait_while_paused():
                if control.take_save():
                    self._save_checkpoint(self.model, None)
            control.check()
        if control.stop_reason:
            self._save_checkpoint(self.model, None)
            self._stop(control.stop_reason, self.control)
        else:
            self.job.emit(ev.Continued(step=self.state.global_step))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Also tell the job about a step's numbers, which are ours: per label token, exact."""
        if "loss" in logs:
            logs["loss"] = self._tell_step(logs["learning_rate"])
        super().log(logs, start_time)  # type: ignore[misc]

    def _tell_step(self, learning_rate: float) -> float:
        tally = self.tally
        loss = (
            tally.window_loss / tally.window_label_tokens if tally.window_label_tokens else math.nan
        )
        seconds, steps, tokens = self._clock.restart()
        self.job.emit(
            ev.StepDone(
                step=self.state.global_step,
                epoch=round(self.state.epoch, 4),
                loss=loss,
                learning_rate=learning_rate,
                grad_norm=self._shown_grad_norm,
                tokens=tally.tokens,
                step_seconds=seconds / max(1, steps),
                tokens_per_second=tokens / seconds if seconds > 0 else 0.0,
            )
        )
        tally.window_loss, tally.window_label_tokens, tally.window_steps = 0.0, 0, 0
        return loss

    # --- evaluation ---

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss per label token over the held-out rows; draws no random number."""
        step = self.state.global_step
        with self._away("evaluating"), _same_random_numbers():
            started = time.monotonic()
            loss = self._held_out_loss()
            seconds = time.monotonic() - started
        best = step > 0 and self._take_evaluation(step, loss)
        self.job.emit(
            ev.EvalDone(
                step=step, loss=loss, rows=len(self.eval_dataset), seconds=seconds, best=best
            )
        )
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _held_out_loss(self) -> float:
        loader = self.get_eval_dataloader()  # type: ignore[attr-defined]
        total = torch.zeros((), dtype=torch.float64, device=self.args.device)
        label_tokens, told = 0, time.monotonic()
        self.model.eval()
        for number, batch in enumerate(loader, 1):
            label_tokens += batch["label_tokens"]
            with torch.no_grad():
                total += self.summed_loss(self.model_wrapped, self._prepare_inputs(batch))  # type: ignore[attr-defined]
            self.job.control.check()
            if time.monotonic() - told > _SECONDS_BETWEEN_REPORTS:
                told = time.monotonic()
                self.job.progress(number, len(loader), "batches")
        self.model.train()
        return total.item() / label_tokens if label_tokens else math.nan

    def summed_loss(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Cross-entropy summed over the label tokens of a batch; a scalar."""
        raise NotImplementedError

    def _take_evaluation(self, step: int, loss: float) -> bool:
        wish = self.job.config.evaluate
        best = self.tally.take_evaluation(step, loss, threshold=wish.early_stopping_threshold)
        # The best adapter must exist on disk, whatever comes after.
        self.control.should_save |= best
        patience, waited = wish.early_stopping_patience, self.tally.evaluations_without_gain
        if patience and waited >= patience and step < self.state.max_steps:
            self.tally.stopped_early = True
            self.control.should_save = self.control.should_training_stop = True
            text = (
                f"no gain in {waited} evaluations: stopped at step {step}; the best was step "
                f"{self.tally.best_step}"
            )
            self.job.emit(ev.GuardTripped(guard="early_stopping", step=step, message=text))
        return best

    # --- saving ---

    def _get_output_dir(self, trial: Any = None) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)  # type: ignore[misc]

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapter and its tokenizer; not the arguments, which would hold tokens in clear."""
        folder = Path(output_dir or self.args.output_dir)
        # "auto" would ask the hub whether the base has a config.json, at every save.
        self.model.save_pretrained(folder, state_dict=state_dict, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        self.processing_class.save_pretrained(folder)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Save this step once, whole or not at all; a full disk does not end the training."""
        step = self.state.global_step
        if step == self._saved_step:
            return
        with self._away("saving"):
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
        finite = torch.stack([p.detach().isfinite().all() for _, p in _trained(self.model)]).all()
        if not finite.item():
            raise guards.diverged(
                f"the adapter has values that are no numbers at step {step}: it was not saved, "
                "the earlier checkpoints are untouched"
            )

    def _save_failed(self, step: int, error: Exception) -> None:
        """Go on with what is in memory; give up only when there is no next save."""
        number = getattr(error, "errno", None)
        text = str(error)
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

    # --- resuming ---

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the adapter without changing its precision, which the stock trainer does."""
        names = {name for name, _ in _trained(self.model)}
        if names != set(self.tally.dtypes):
            odd = sorted(names ^ set(self.tally.dtypes))[0]
            raise RefusedError(
                f"{Path(resume_from_checkpoint).name} trains other tensors than this run, such as "
                f"{odd}",
                kind="changed",
                remedies=("start a new run",),
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        for name, parameter in _trained(self.model):
            dtype = getattr(torch, self.tally.dtypes[name].removeprefix("torch."))
            parameter.data = parameter.data.to(dtype)

    @contextmanager
    def _away(self, stage: str) -> Iterator[None]:
        """Do something that is not training; its time does not count as a step's."""
        self.job.stage(stage)
        with self._clock.stopped():
            yield
        self.job.stage("training")


class _Flow(TrainerCallback):  # type: ignore[misc]
    """Connects the trainer's moments with the mixin's decisions."""

    def __init__(self, trainer: DurableMixin):
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.on_begin()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.before_update()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._trainer.after_step(control)


class _Clock:
    """Time, steps and tokens since the last point on the curve, without what was not training."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._away_seconds = 0.0
        self._depth = 0
        self._steps = self._tokens = 0

    def count(self, tokens: int) -> None:
        self._steps += 1
        self._tokens += tokens

    def restart(self) -> tuple[float, int, int]:
        """(seconds, steps, tokens) so far; counts from zero again."""
        now = time.monotonic()
        counted = (now - self._began - self._away_seconds, self._steps, self._tokens)
        self._began, self._away_seconds, self._steps, self._tokens = now, 0.0, 0, 0
        return counted

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Time inside does not count; may be nested."""
        started, self._depth = time.monotonic(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._away_seconds += time.monotonic() - started


def _trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave torch's generators as they were: a data loader draws a seed when it starts."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield
