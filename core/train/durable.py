"""What makes a Hugging Face trainer durable: exact resume, atomic saves, commands, true numbers.

``DurableMixin`` goes in front of one of TRL's trainers. It owns when to log, evaluate, save and
stop, and replaces what would make a resumed run another run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from transformers import PrinterCallback, TrainerCallback

from core.config.errors import FailedError
from core.record import events as ev
from core.record.job import Job
from core.train import guards
from core.train.clock import StepClock
from core.train.saving import SavingMixin, trained
from core.train.tally import Tally

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_SECONDS_BETWEEN_REPORTS = 1.0
_OVERRIDDEN = (
    "_clip_grad_norm",
    "_get_num_items_in_batch",
    "_get_output_dir",
    "_load_from_checkpoint",
    "_maybe_log_save_evaluate",
    "_save",
    "_save_checkpoint",
    "evaluate",
    "floating_point_ops",
    "get_batch_samples",
    "log",
    "training_step",
)
"""Methods of the libraries that are replaced here; half of them are private and may move."""


class DurableMixin(SavingMixin):
    """Give it ``job`` and ``tally`` beside the trainer's own arguments.

    The job hears everything as events and is looked at for commands; the tally is what a resume
    continues, freshly made or read from the checkpoint that ``train`` is given.
    """

    # compute_loss divides by the label tokens of the whole step, so nobody else has to.
    loss_is_scaled_for_ga = True

    accelerator: Any
    callback_handler: Any
    train_dataset: Any
    eval_dataset: Any
    _tr_loss: torch.Tensor
    held_out_rows: int = 0
    """Rows behind the evaluation set, which holds fewer sequences where rows are packed."""

    def __init__(self, *, job: Job, tally: Tally, **kwargs: Any):
        _check_libraries(type(self))
        self.stop_reason = ""
        """Why training ended before its last step; empty when it did not."""
        self._guard = guards.NumberGuard(tally.skipped_in_a_row)
        self._step_loss: torch.Tensor | None = None
        self._grad_norm: torch.Tensor | None = None
        self._shown_grad_norm = math.nan
        self._step_tokens = self._step_label_tokens = 0
        self._clock = StepClock()
        self._iterator: Iterator[Any] | None = None
        self._ahead: list[Any] = []
        # TRL rounds the adapters of a quantized base to bf16, which loses small updates.
        exact = {name: p.detach().clone() for name, p in trained(kwargs["model"])}
        super().__init__(job=job, tally=tally, **kwargs)
        for name, parameter in trained(self.model):
            parameter.data = exact[name]
        tally.dtypes = tally.dtypes or {name: str(p.dtype) for name, p in trained(self.model)}
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
        self._step_tokens = sum(int(batch["tokens"]) for batch in batch_samples)
        self._step_label_tokens = sum(int(batch["label_tokens"]) for batch in batch_samples)
        return self._step_label_tokens

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: Any
    ) -> tuple[list[Any], int]:
        """The micro-batches of the coming step; made already, where ``look_ahead`` had the time."""
        if self._iterator is not epoch_iterator:
            self._iterator, self._ahead = epoch_iterator, []
        batches = [*self._ahead, *islice(epoch_iterator, num_batches - len(self._ahead))]
        self._ahead = []
        return batches, self._get_num_items_in_batch(batches, device)

    def look_ahead(self) -> None:
        """Make the next step's micro-batches while the GPU is busy with this one's.

        Which rows come next is settled when an epoch begins, so nothing random is drawn here.
        """
        more = self.state.global_step + 1 < self.state.max_steps
        if self._iterator is not None and more and not self._ahead:
            self._ahead = list(islice(self._iterator, self.args.gradient_accumulation_steps))

    def floating_point_ops(self, inputs: dict[str, Any]) -> float:
        """As the trainer reckons them, without going through all modules at every micro-batch."""
        return 6.0 * int(inputs["tokens"]) * self._learned_through

    @cached_property
    def _learned_through(self) -> int:
        """Parameters that a token goes through, embeddings left out."""
        count: int = self.model.num_parameters(exclude_embeddings=True)
        return count

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        self.job.control.check()
        loss = self.forward_backward(model, inputs, num_items_in_batch)
        self._step_loss = loss if self._step_loss is None else self._step_loss + loss
        return loss

    def forward_backward(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        """The loss of one micro-batch, its gradients added to the parameters'."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
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
        self.look_ahead()
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
        self.drop_update()
        self._tr_loss = torch.zeros_like(self._tr_loss)
        self.job.emit(ev.GuardTripped(guard="not_a_number", step=step, message=message))

    def drop_update(self) -> None:
        """Clear the gradients, so that the optimizer changes nothing."""
        for _, parameter in trained(self.model):
            parameter.grad = None

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
        batches: int = math.ceil(len(self.train_dataset) / self.args.train_batch_size)
        accumulation: int = self.args.gradient_accumulation_steps
        return max(1, math.ceil(batches / accumulation))

    def after_step(self, control: TrainerControl) -> None:
        """Decide what happens at the end of this step: log, evaluate, save, stop."""
        step = self.state.global_step
        config = self.job.config
        self.job.step = self.tally.step = step
        self.tally.tokens += self._step_tokens
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
        tally.window_loss, tally.window_label_tokens = 0.0, 0
        return loss

    # --- evaluation ---

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss per label token over the held-out rows; draws no random number."""
        step = self.state.global_step
        with self.away("evaluating"), _same_random_numbers():
            started = time.monotonic()
            loss = self._held_out_loss()
            seconds = time.monotonic() - started
        best = step > 0 and self._take_evaluation(step, loss)
        self.job.emit(
            ev.EvalDone(step=step, loss=loss, rows=self.held_out_rows, seconds=seconds, best=best)
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

    @contextmanager
    def away(self, stage: str) -> Iterator[None]:
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


def _check_libraries(trainer: type) -> None:
    """Raise FailedError when a replaced method is gone: ours would silently never be called."""
    theirs = [cls for cls in trainer.__mro__ if not cls.__module__.startswith("core.")]
    gone = [name for name in _OVERRIDDEN if not any(name in vars(cls) for cls in theirs)]
    if gone:
        raise FailedError(
            f"the installed transformers and trl are not known here: they lack {gone[0]}",
            kind="unsupported_libraries",
            remedies=("install finetui again with its pinned versions (constraints.txt)",),
        )


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave torch's generators as they were: a data loader draws a seed when it starts."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield
