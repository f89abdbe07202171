from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from core.config.schema import RunConfig
from core.train import arguments


def test_settings_arrive_under_their_names(tmp_path: Path) -> None:
    config = RunConfig()
    config.train.learning_rate, config.train.seed = 3e-4, 7
    args = arguments.sft_config(config, tmp_path, device="cpu", dtype=torch.float32)
    assert (args.learning_rate, args.seed, args.data_seed) == (3e-4, 7, 7)
    assert args.warmup_steps == 0.03
    assert args.optim == "paged_adamw_8bit"
    assert (args.bf16, args.fp16, args.use_cpu) == (False, False, True)
    assert args.report_to == []
    assert not args.logging_nan_inf_filter
    assert args.save_strategy == args.eval_strategy == "no"


def test_rows_are_copied_ahead_of_a_gpu_and_nothing_is_said_about_it_on_a_cpu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"device": "cpu", "dtype": torch.float32}
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    args = arguments.sft_config(RunConfig(), tmp_path, **known)  # type: ignore[arg-type]
    Trainer(model=torch.nn.Linear(2, 2), args=args)
    assert not caplog.messages
    on_gpu = arguments.sft_config(RunConfig(), tmp_path, **known | {"device": "cuda"})  # type: ignore[arg-type]
    assert on_gpu.dataloader_pin_memory
    assert on_gpu.accelerator_config.non_blocking


def test_warm_up_below_one_is_a_part_of_all_steps(tmp_path: Path) -> None:
    config = RunConfig()
    for given, expected in ((0.1, 10), (5, 5), (5.0, 5)):
        config.train.warmup_steps = given
        args = arguments.sft_config(config, tmp_path, device="cpu", dtype=torch.float32)
        assert args.get_warmup_steps(100) == expected


def test_older_names_are_used_where_the_new_are_not_known(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    class Older:
        def __init__(self, gradient_checkpointing: bool = False, seed: int = 0):
            pass

    monkeypatch.setattr(arguments, "SFTConfig", Older)
    assert arguments._as_known({"activation_checkpointing": True, "seed": 1}) == {
        "gradient_checkpointing": True,
        "seed": 1,
    }
