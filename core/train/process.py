"""What a training changes for its whole process, put back when it has ended.

A deterministic one sets switches of torch and variables of the environment that others of the same
process (``run.engine_host`` thread) would go on with: slower, and in more memory than was planned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from core.model.training_path import WORKSPACE

_VARIABLES = (
    WORKSPACE, "CUDA_LAUNCH_BLOCKING", "FLASH_ATTENTION_DETERMINISTIC",
    "ASCEND_LAUNCH_BLOCKING", "HCCL_DETERMINISTIC",
)  # fmt: skip
"""What transformers' ``enable_full_determinism`` sets, and cuBLAS's memory."""


@contextmanager
def left_as_found() -> Iterator[None]:
    """Whatever is set within, afterwards it is as it was before."""
    variables = {name: os.environ.get(name) for name in _VARIABLES}
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warned)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        for name, value in variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
