"""Pinned memory of the host: in huge pages, and given back with its last view."""

from __future__ import annotations

import math
import mmap
import weakref
from collections.abc import Callable
from contextlib import suppress

import torch

from core.config.errors import FailedError

Tensor = torch.Tensor
_MAPPED = 2
"""The GPU's kernels may read such memory themselves (cudaHostRegisterMapped)."""


def pinned(*shape: int, dtype: torch.dtype) -> Tensor:
    """Memory of the host that the GPU copies from and to by itself, as long as a view of it lives.

    torch's own pinned allocator rounds sizes up to a power of two. Raises FailedError when the
    system does not give so much.
    """
    size = math.prod(shape) * dtype.itemsize
    tensor = _paged(size, dtype).resize_(shape)
    runtime = torch.cuda.cudart()
    result = runtime.cudaHostRegister(tensor.data_ptr(), size, _MAPPED)
    if int(result) != 0:
        raise FailedError(
            f"{size / 2**30:.1f} GiB of memory (RAM) could not be pinned for the GPU (error "
            f"{int(result)} of CUDA)",
            kind="out_of_host_memory",
            remedies=(
                "close other programs, or raise the limit of locked memory (ulimit -l)",
                'or train without the fused path: train.path = "peft"',
            ),
        )
    # Not a view itself: views keep such a tensor alive, but not one another.
    weakref.finalize(tensor, _unpin, tensor.data_ptr(), runtime.cudaHostUnregister)
    return tensor


def _paged(size: int, dtype: torch.dtype) -> Tensor:
    """So many bytes in huge pages, which are pinned three times as fast (benchmarks/pinning.py)."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel that was built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype)


def _unpin(address: int, unregister: Callable[[int], object]) -> None:
    unregister(address)
