"""The job ``train``: from a run folder to its adapter, starting or resuming as the folder says."""

from __future__ import annotations

import gc
import os
import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import set_seed
from trl import SFTTrainer

from core.config.errors import FailedError
from core.config.hub import local_folder
from core.config.schema import RunConfig
from core.model import adapters, apart, liger
from core.model import load as models
from core.model.fast.model import FastModel
from core.model.fast.plan import Plan
from core.model.shapes import beyond_context
from core.model.training_path import WORKSPACE
from core.record import events as ev
from core.record.commands import Stopped
from core.record.job import Job, Result
from core.train import checkpoint, fingerprint, path
from core.train.arguments import sft_config
from core.train.collate import Collator, FlatCollator
from core.train.durable import DurableMixin
from core.train.lines import library_lines
from core.train.loss import LabelLoss
from core.train.process import left_as_found
from core.train.tally import Tally

if TYPE_CHECKING:
    from core.data.prepare import Frozen


class DurableTrainer(DurableMixin, SFTTrainer):  # type: ignore[misc]
    """Supervised fine-tuning on frozen rows."""

    optimizer: Any
    _loss: LabelLoss | None = None
    fast: FastModel | None = None
    """The fused path, where it is taken."""

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """On the fused path one parameter stands for all adapters: one launch instead of 448."""
        if self.fast is None or self.optimizer is not None:
            made: torch.optim.Optimizer = super().create_optimizer(model)
            return made
        self.fast.adapters.gather()
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        groups = [
            {"params": [self.fast.adapters.whole], "weight_decay": self.args.weight_decay},
        ]
        optimizer: torch.optim.Optimizer = kind(groups, **options)
        self.optimizer = optimizer
        return optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        if self.fast is None:
            return super()._clip_grad_norm(model)
        self._grad_norm = torch.nn.utils.clip_grad_norm_(
            [self.fast.adapters.whole], self.args.max_grad_norm
        )
        return self._grad_norm

    def drop_update(self) -> None:
        if self.fast is None:
            super().drop_update()
        else:
            self.fast.adapters.drop_grads()

    def forward_backward(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        """One micro-batch. The stock one sets thousands of modules to training each time."""
        if self.fast is None:
            return super().forward_backward(model, inputs, num_items_in_batch)
        if not model.training:
            model.train()
        inputs = self._prepare_inputs(inputs)
        loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        if self.accelerator.sync_gradients:
            # Later the GPU would wait: launching a long backward pass takes as long as the pass.
            self.look_ahead()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> torch.Tensor:
        """This micro-batch's share of the step's mean loss per label token; a scalar.

        Exact under accumulation whatever the micro-batches' sizes, and without waiting for a GPU.
        """
        if return_outputs:
            raise NotImplementedError("logits are never kept; the loss is all there is")
        label_tokens = inputs["label_tokens"] if num_items_in_batch is None else num_items_in_batch
        return self.summed_loss(model, inputs) / max(1, label_tokens)

    def summed_loss(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        if self.fast is not None:
            return self.fast(batch)
        # The backbone is called directly, past the autocast that accelerate puts on the model.
        with self.accelerator.autocast():
            if self._loss is None:
                self._loss = LabelLoss(self.model)
                if not self._loss.by_rows:
                    self.job.log("this model changes its logits after the head: all are computed")
            return self._loss(batch)


def train(job: Job) -> Result:
    """Train the run's adapter, going on from its newest verified checkpoint if there is one.

    A run that is complete is left as it is. Raises Stopped when it ended early because somebody
    asked, RefusedError when a resume would not be of the same run, FailedError when it cannot go
    on; an abort passes through.
    """
    with left_as_found():
        return _trained(job)


def _trained(job: Job) -> Result:
    run = job.folder.path
    if job.config.train.full_determinism:
        # Looked at when the first matrices are multiplied, and never again.
        os.environ.setdefault(WORKSPACE, ":4096:8")
    data = frozen_data(job)
    job.stage("loading")
    with library_lines(job):
        checkpoint.sweep(run)
        device = models.device_of(job.config)
        chosen, tally = _choose(job)
        job.step = tally.step
        tier = _compare(job, str(data.report["sha256"]), device)
        if tally.complete and chosen.path is not None:
            return _deliver(job, tally, trained=0)
        try:
            return _train(job, data, device, chosen, tally, tier)
        finally:
            liger.take_off()
            gc.collect()
            if device != "cpu":
                torch.cuda.empty_cache()


def frozen_data(job: Job) -> Frozen:
    """The run's frozen rows, which are made first when this is its first start."""
    from core.data.prepare import load_frozen, prepare

    if not job.folder.data.exists():
        path.check_fp8(job.config)
        prepare(job)
    return load_frozen(job.folder)


def _choose(job: Job) -> tuple[checkpoint.Chosen, Tally]:
    """The checkpoint to go on from, and its counts. Raises FailedError when all are damaged."""
    chosen = checkpoint.newest_verified(job.folder.path)
    for name, reason in chosen.rejected:
        job.emit(ev.CheckpointRejected(name=name, reason=reason))
    if chosen.path is not None:
        return chosen, Tally.load(chosen.path)
    lost = [name for name, _ in chosen.rejected if checkpoint.holds_state(job.folder.path / name)]
    if lost:
        raise FailedError(
            f"no checkpoint of this run can be used: {', '.join(lost)}. Nothing was changed",
            kind="no_checkpoint",
            remedies=(
                "restore a checkpoint folder from a backup, then resume",
                "or start a new run with the same settings; this one stays as it is",
            ),
        )
    return chosen, Tally()


def _compare(job: Job, data_sha256: str, device: str) -> tuple[str, ...] | None:
    """Refuse to resume something else. None at the first start, else why it is not bit-exact."""
    now = fingerprint.take(job.config, data_sha256, device)
    before = fingerprint.load(job.folder)
    if before is None:
        fingerprint.save(job.folder, now)
        return None
    reasons, changes = fingerprint.check(before, now)
    for change in changes:
        job.log(f"changed since the run was started: {change}")
    if device != "cpu" and not job.config.train.full_determinism:
        reasons += ("GPU kernels may round differently each time (train.full_determinism is off)",)
    return reasons


def _train(
    job: Job,
    data: Frozen,
    device: str,
    chosen: checkpoint.Chosen,
    tally: Tally,
    tier: tuple[str, ...] | None,
) -> Result:
    started_step = chosen.step
    trainer = assemble(job, data, device, tally, resumed=chosen.path is not None)
    if tier is not None:
        job.emit(
            ev.Resumed(
                from_step=chosen.step,
                tier="S" if tier else "E",
                checkpoint=chosen.path.name if chosen.path else "",
                reasons=tier,
            )
        )
    trainer.train(resume_from_checkpoint=str(chosen.path) if chosen.path else None)
    if trainer.stop_reason:
        result = _deliver(job, tally, trained=tally.step - started_step)
        job.log(f"the adapter of step {result['adapter_step']} is in {job.folder.adapter}")
        name = job.folder.checkpoint(tally.step).name
        raise Stopped(tally.step, trainer.stop_reason, name)
    return _deliver(job, tally, trained=tally.step - started_step)


def assemble(
    job: Job,
    data: Frozen,
    device: str,
    tally: Tally,
    *,
    resumed: bool,
    kind: type[DurableTrainer] | None = None,
) -> DurableTrainer:
    """Load everything and put it together, in a trainer of this kind."""
    config = job.config
    set_seed(config.train.seed)
    dtype = models.compute_dtype(config, device)
    tokenizer, model, plan = _loaded(job, device, tally, dtype)
    arguments = sft_config(config, job.folder.path, device=device, dtype=dtype)
    collator: Collator | FlatCollator = Collator(int(tokenizer.pad_token_id))
    if plan is not None:
        collator = FlatCollator(int(tokenizer.pad_token_id), full=plan.piece_tokens)
        path.remember(plan, tally)
        _follow(plan, arguments, config)
    held_out = data.evaluation if config.evaluate.eval_strategy != "no" else None
    arguments.eval_on_start = bool(held_out and config.evaluate.eval_on_start and not resumed)
    trainer = (kind or DurableTrainer)(
        job=job,
        tally=tally,
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=data.train,
        eval_dataset=held_out,
        processing_class=tokenizer,
    )
    if plan is not None:
        trainer.fast = FastModel(trainer.model, plan, fp8=config.train.fp8)
    if held_out is not None:
        counted = data.report.get("eval") or {}
        trainer.held_out_rows = int(counted.get("rows", len(held_out)))
    return trainer


def _loaded(
    job: Job, device: str, tally: Tally, dtype: torch.dtype
) -> tuple[Any, Any, Plan | None]:
    """Tokenizer and PEFT model, and the fused path's plan where it is taken."""
    config = job.config
    began = time.monotonic()
    tokenizer = models.load_tokenizer(config)
    foreseen = path.foresee(config, tally, device, dtype)
    if foreseen.warning:
        job.log(foreseen.warning, "warning")
    base = models.load_base(
        config,
        quantized=True,
        device=device,
        on_host=foreseen.plan.on_host if foreseen.plan else frozenset(),
        on_progress=lambda done, total: job.progress(done, total, "weights"),
    )
    model = _adapted(base, config)
    trainable, total = adapters.trainable_parameters(model)
    settled = path.settle(foreseen, model, config, tally, device)
    plan, why = settled.plan, settled.why
    if plan is None and config.data.packing:
        apart.check(base)
    if plan is None:
        why = "; ".join(filter(None, (why, liger.put_on(base, device))))
    if told := beyond_context(
        config.data.max_length, getattr(base.config, "max_position_embeddings", None)
    ):
        job.log(told, "warning")
    job.emit(
        ev.ModelLoaded(
            name=config.model.name_or_path,
            parameters=total - trainable,
            trainable=trainable,
            quantization=config.quantization.label,
            fp8=config.train.fp8,
            compute_dtype=str(dtype).removeprefix("torch."),
            device=device,
            path="PEFT" if plan is None else "fused",
            why=why,
            seconds=time.monotonic() - began,
        )
    )
    return tokenizer, model, plan


def _adapted(base: Any, config: RunConfig) -> Any:
    """The base with its adapter, which names the base as it is found from anywhere."""
    model = adapters.attach(base, config)
    folder = local_folder(config.model.name_or_path)
    if folder is not None:
        # Whoever loads the adapter later may stand in another folder.
        model.peft_config["default"].base_model_name_or_path = str(folder.absolute())
    return model


def _follow(plan: Plan, arguments: Any, config: RunConfig) -> None:
    """The sums of a step stay what they are: only the number of passes changes."""
    arguments.per_device_train_batch_size = plan.micro_batch
    arguments.gradient_accumulation_steps = config.effective_batch // plan.micro_batch
    arguments.per_device_eval_batch_size = min(
        arguments.per_device_eval_batch_size, plan.micro_batch
    )


def _deliver(job: Job, tally: Tally, *, trained: int) -> Result:
    """Publish the best adapter (the last one where nothing was evaluated); the job's result."""
    job.stage("saving")
    step = tally.best_step or tally.step
    best = job.folder.checkpoint(step)
    reason = checkpoint.verify(best)
    if reason is not None:
        raise FailedError(
            f"the best checkpoint {best.name} cannot be delivered: {reason}",
            kind="no_checkpoint",
            remedies=("restore it from a backup, then resume",),
        )
    sha256 = checkpoint.publish_adapter(best, job.folder.adapter)
    result: Result = {
        "steps": tally.step,
        "steps_trained": trained,
        "tokens": tally.tokens,
        "adapter": job.folder.adapter.name,
        "adapter_step": step,
        "adapter_sha256": sha256,
    }
    if tally.best_loss is not None:
        result["eval_loss"] = tally.best_loss
    if tally.stopped_early:
        result["outcome"] = "stopped early: no further gain"
    elif not trained:
        result["outcome"] = "already complete: nothing was trained"
    return result
