"""A frozen linear and its adapter as one sum, where PEFT's layers train in 16 bit on a GPU.

PEFT adds what an adapter makes to an output that is rounded already. What is below half of its last
place is gone then, as is most of what an adapter does in its first steps (docs/performance.md,
Exactness). A product that begins with the adapter's part is rounded once, and reads and writes no
output more for it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

Tensor = torch.Tensor


def put_on(model: Any, device: str) -> str | None:
    """Change a PEFT model's layers; what to say of it, None where none was changed.

    Those with a bias, with DoRA or on another quantization stay as they are; so do all on a CPU,
    which computes in fp32.
    """
    if not device.startswith("cuda"):
        return None
    found = [layer for layer in model.modules() if _plain(layer)]
    for layer in found:
        layer.forward = partial(forward, layer, layer.forward)
    return "adapters added before outputs are rounded" if found else None


def _plain(layer: Any) -> bool:
    """Whether it is a LoRA around a linear that ``_weight`` knows."""
    from bitsandbytes.nn import Linear4bit
    from peft.tuners.lora import LoraLayer

    if not isinstance(layer, LoraLayer):
        return False
    base = layer.get_base_layer()
    return type(base) in (torch.nn.Linear, Linear4bit) and base.bias is None


def forward(layer: Any, stock: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The layer's output (..., N) of x (..., K); ``stock`` is PEFT's way, for all other cases."""
    kind = x.device.type
    name = layer.active_adapters[0] if layer.active_adapters else ""
    alone = len(layer.active_adapters) == 1 and name in layer.lora_A.keys() - layer.lora_variant
    if args or kwargs or not alone or layer.disable_adapters or layer.merged:
        return stock(x, *args, **kwargs)
    if not torch.is_autocast_enabled(kind):  # in fp32 nothing is lost
        return stock(x)
    dtype = torch.get_autocast_dtype(kind)
    added = layer.lora_B[name](layer.lora_A[name](layer.lora_dropout[name](x)))
    added = (added * layer.scaling[name]).to(dtype)
    base = layer.get_base_layer()
    out = _Onto.apply(x.to(dtype), added, base)  # type: ignore[no-untyped-call]
    return out if type(base) is torch.nn.Linear else out.to(x.dtype)


class _Onto(torch.autograd.Function):
    """``added + x W'``; W is frozen."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, added: Tensor, base: Any) -> Tensor:
        ctx.base = base
        rows = added.reshape(-1, added.shape[-1])
        matrix = _weight(base, x.dtype).t()
        return torch.addmm(rows, x.reshape(-1, x.shape[-1]), matrix).view(added.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        wanted = ctx.needs_input_grad[0]
        return grad @ _weight(ctx.base, grad.dtype) if wanted else None, grad, None


def _weight(base: Any, dtype: torch.dtype) -> Tensor:
    """W (N, K), dequantized where it is in 4 bit."""
    weight: Tensor = base.weight
    if type(base) is not torch.nn.Linear:
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, base.weight.quant_state)
    return weight.to(dtype)
