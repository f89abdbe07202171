"""Sections about the training: how the adapter learns, in how much memory, and how it is judged."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from core.config.setting import Section, setting


class TrainConfig(Section):
    """How the adapter is trained."""

    num_train_epochs: float = setting(
        3.0, "Passes over the data: 3 to 5 on small sets, 1 or 2 on large ones.",
        unit="epochs", common=True, gt=0, le=1000,
    )  # fmt: skip
    max_steps: int = setting(
        -1, "Stop after this many steps; -1 lets the epochs decide.", unit="steps", ge=-1
    )
    per_device_train_batch_size: int = setting(
        2,
        "Sequences in one forward pass. Lower it when memory is short; on the fused path only its "
        "product with the accumulation counts, and passes follow the memory.",
        unit="sequences", common=True, ge=1, le=4096,
    )  # fmt: skip
    gradient_accumulation_steps: int = setting(
        8, "Forward passes added up before one step: effective batch = batch size times this.",
        common=True, ge=1, le=65536,
    )  # fmt: skip
    learning_rate: float = setting(
        2e-4, "1e-4 to 3e-4 for LoRA; 5e-5 after NaN; 1e-5 against forgetting.",
        common=True, gt=0, le=1,
    )  # fmt: skip
    lr_scheduler_type: Literal[
        "cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt", "polynomial"
    ] = setting("cosine", "How the learning rate falls.", common=True)
    warmup_steps: float = setting(
        0.03, "Steps of rising learning rate; below 1 it is a part of all steps.", ge=0
    )
    optim: Literal[
        "paged_adamw_8bit", "adamw_8bit", "paged_adamw_32bit", "adamw_torch_fused", "adamw_torch"
    ] = setting(
        "paged_adamw_8bit",
        "The paged ones move their state to RAM when the GPU runs short.",
    )
    weight_decay: float = setting(0.01, "0.01 to 0.1; 0.05 and more on small data.", ge=0, le=1)
    max_grad_norm: float = setting(1.0, "Gradient clipping; 0.3 for large models.", gt=0, le=1000)
    activation_checkpointing: bool = setting(
        True,
        "Recompute activations in the backward pass: less memory, about a third more time. The "
        "fused path decides by itself.",
    )
    path: Literal["auto", "peft"] = setting(
        "auto",
        "auto: the fused path where model, adapter and GPU fit it, else PEFT's layers; the log "
        "says which and why. peft: always PEFT's.",
    )
    logging_steps: int = setting(
        1, "A point on the curves every so many steps.", unit="steps", ge=1
    )
    save_steps: int = setting(
        100, "A checkpoint every so many steps; 0 saves only at the end and on request.",
        unit="steps", common=True, ge=0,
    )  # fmt: skip
    save_total_limit: int = setting(
        3, "Checkpoints kept; the best and the newest always stay.", ge=1, le=1000
    )
    seed: int = setting(42, "Seed of initialization, order and dropout.", ge=0, lt=2**32)
    full_determinism: bool = setting(
        False, "Deterministic GPU kernels: slower, and the same bits at every run."
    )
    fp8: bool = setting(
        False,
        "The fused path multiplies in FP8 (e4m3) instead of bf16: faster, rounds more. Ada, "
        "Hopper, Blackwell and newer GPUs.",
    )

    @model_validator(mode="after")
    def fp8_on_the_fused_path(self) -> TrainConfig:
        if self.fp8 and self.path == "peft":
            raise ValueError("fp8 is for the fused path: set path to auto, or fp8 to no")
        return self


class MemoryConfig(Section):
    """How much memory training may take."""

    limit_gib: float | None = setting(
        None,
        "Device memory that the fused path may fill to save work, CUDA's own GiB included. "
        "Empty: nine tenths of what is free. PEFT's layers take what they need.",
        unit="GiB", gt=0, le=4096,
    )  # fmt: skip


class EvaluateConfig(Section):
    """How the run is judged while it trains."""

    eval_strategy: Literal["steps", "epoch", "no"] = setting(
        "steps", "When the held-out loss is measured.", common=True
    )
    eval_steps: int = setting(
        50, "Measure it every so many steps.", unit="steps", common=True, ge=1
    )
    eval_on_start: bool = setting(True, "Measure once before the first step: the baseline.")
    per_device_eval_batch_size: int = setting(
        2, "Sequences in one forward pass of an evaluation.", unit="sequences", ge=1, le=4096
    )
    early_stopping_patience: int = setting(
        0, "Stop after so many evaluations without gain; 0 never stops early.", ge=0
    )
    early_stopping_threshold: float = setting(0.0, "A smaller gain than this does not count.", ge=0)
    compare_rows: int = setting(
        8, "After a merge, this many held-out rows are answered by base and merged model.",
        unit="rows", ge=0, le=1000,
    )  # fmt: skip
    max_new_tokens: int = setting(
        128, "Longest answer when comparing or generating.", unit="tokens", ge=1, le=8192
    )
