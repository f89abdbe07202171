"""From RunConfig to the trainer's own arguments: the one place that knows both names."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig

from core.config.schema import RunConfig


def sft_config(config: RunConfig, output: Path, *, device: str, dtype: torch.dtype) -> SFTConfig:
    """The arguments of TRL's SFT trainer for a run.

    ``dtype`` is the compute precision: bf16 and fp16 turn on autocast, which needs a GPU. When to
    evaluate, save and stop is decided by the durable trainer, so both strategies are "no" here.
    """
    train = config.train
    values: dict[str, Any] = {
        "output_dir": str(output),
        "num_train_epochs": train.num_train_epochs,
        "max_steps": train.max_steps,
        "per_device_train_batch_size": train.per_device_train_batch_size,
        "per_device_eval_batch_size": config.evaluate.per_device_eval_batch_size,
        "gradient_accumulation_steps": train.gradient_accumulation_steps,
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": train.lr_scheduler_type,
        "warmup_steps": train.warmup_steps if train.warmup_steps < 1 else int(train.warmup_steps),
        "optim": train.optim,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "logging_steps": train.logging_steps,
        "seed": train.seed,
        "data_seed": train.seed,
        "full_determinism": train.full_determinism,
        "bf16": device != "cpu" and dtype == torch.bfloat16,
        "fp16": device != "cpu" and dtype == torch.float16,
        "use_cpu": device == "cpu",
        # Else making the next rows would wait until the GPU has done all that it was given.
        "dataloader_pin_memory": device != "cpu",
        "accelerator_config": {"non_blocking": device != "cpu"},
        **_ours(train.activation_checkpointing),
    }
    arguments = SFTConfig(**_as_known(values))
    if device != "cpu" and arguments.n_gpu > 1:
        # This process drives one GPU; with more in sight the trainer would split every batch.
        arguments._n_gpu = 1
    return arguments


def _ours(activation_checkpointing: bool) -> dict[str, Any]:
    """What is the same in every run, with its reason."""
    return {
        "activation_checkpointing": activation_checkpointing,
        "activation_checkpointing_kwargs": {"use_reentrant": False},
        # Rows come tokenized, masked and packed, with position_ids that keep documents apart.
        "packing": False,
        "padding_free": False,
        "max_length": None,
        "remove_unused_columns": False,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        # Saving, keeping and choosing checkpoints is ours.
        "save_strategy": "no",
        "eval_strategy": "no",
        "eval_on_start": False,
        "save_total_limit": None,
        "load_best_model_at_end": False,
        # The journal and the screen are the only ones told, and NaN is told as NaN.
        "report_to": "none",
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "no",
        "push_to_hub": False,
        # A batch must not depend on how far a worker process has read ahead.
        "dataloader_num_workers": 0,
    }


_OLDER = {
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing_kwargs",
}


def _as_known(values: dict[str, Any]) -> dict[str, Any]:
    """Names as the installed library spells them. A name that it lacks raises TypeError there."""
    known = inspect.signature(SFTConfig.__init__).parameters
    return {
        (_OLDER[name] if name not in known and name in _OLDER else name): value
        for name, value in values.items()
    }
