"""Whether products in FP8 are what they should be on this machine, before anything learns by them.

Not every card and version multiplies in FP8 as it says, and what Triton makes of conversions has
been wrong before. A layer's own weights and some random tokens show it within a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from core.config.errors import RefusedError, first_line
from core.model.fast.linear import Group, Wide
from core.model.fast.plain import difference

_TOKENS = 64
_NAMES = ("q, k and v", "o_proj", "gate and up", "down_proj")
_MOST = 0.1
"""Error of a product, as a part of its norm: e4m3 leaves 0.04, another arithmetic 1."""


def refused(why: str) -> RefusedError:
    """The error of a run that asked for FP8 and cannot have it."""
    return RefusedError(
        f"train.fp8 is on, and this run cannot multiply in FP8: {why}",
        kind="no_fp8",
        remedies=(
            "set train.fp8 to no: finetui estimate then says which path it takes",
            "or change what stands in the way",
        ),
    )


def check(groups: Sequence[Group], dtype: torch.dtype, device: torch.device) -> None:
    """Multiply through a layer's linears, both ways. Raises RefusedError where that goes wrong."""
    for name, group in zip(_NAMES, groups, strict=True):
        try:
            errors = _errors(group, dtype, device)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # Triton's own are no RuntimeErrors
            raise refused(f"{name}: {first_line(error)}") from error
        wrong = [error for error in errors if not error < _MOST]
        if wrong:
            raise refused(f"{name}: a product is off by {wrong[0]:.0%} of its norm here")


def _errors(group: Group, dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """Errors of the output and of the gradient of the input."""
    weight = group.expanded(torch.empty(group.room, dtype=dtype, device=device))
    dense = torch.cat([one.dequantized(dtype) for one in group.weights])
    x, dy = (_random(width, group, dtype, device) for width in (group.columns, group.rows))
    out = torch.empty(_TOKENS, group.rows, dtype=dtype, device=device)
    group.forward(x, weight, out)
    ranks = group.place.ranks
    wanted = x.main @ dense.t() + x.tail[:, :ranks] @ group.b(weight).t()
    if group.bias is not None:
        wanted += group.bias
    back = torch.empty(_TOKENS, group.columns, dtype=dtype, device=device)
    group.backward_input(dy, weight, back, None)
    back_wanted = dy.main @ dense + dy.tail[:, :ranks] @ group.a(weight)
    return difference(out, wanted), difference(back, back_wanted)


def _random(width: int, group: Group, dtype: torch.dtype, device: torch.device) -> Wide:
    # A generator of its own: what the run draws must not depend on this.
    generator = torch.Generator(device).manual_seed(0)
    shape = (_TOKENS, width + group.pad)
    whole = torch.randn(shape, dtype=dtype, device=device, generator=generator)
    return Wide(whole, width)
