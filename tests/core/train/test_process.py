"""What a training leaves behind in its process."""

from __future__ import annotations

import os

import pytest
import torch
from transformers.trainer_utils import enable_full_determinism

from core.train.process import left_as_found


def test_nothing_deterministic_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.delenv("CUDA_LAUNCH_BLOCKING", raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError):
        _fail_deterministically()
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert dict(os.environ) == before


def _fail_deterministically() -> None:
    with left_as_found():
        enable_full_determinism(0)
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":0:0"
        assert torch.backends.cudnn.deterministic
        assert os.environ["CUDA_LAUNCH_BLOCKING"] == "1"
        raise KeyError("of the training")


def test_what_was_deterministic_before_stays_so() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with left_as_found():
            torch.use_deterministic_algorithms(False)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
