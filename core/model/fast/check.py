"""Whether the fused path computes on this machine what torch does, before anything learns by it.

Kernels are compiled where they run, and compilers err: what Triton made of numbers in FP8 was wrong
on an H100, depending on how a tensor lay in memory. So a layer of the model itself is tried,
forward and backward, beside its twin in plain torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from core.config.errors import first_line
from core.model.fast import plain
from core.model.fast.adapters import Adapters
from core.model.fast.attention import Attentions, Documents
from core.model.fast.dropout import Mask
from core.model.fast.layer import Batch, Layer
from core.model.fast.route import GROUPS, dropout_of, layers_of
from core.model.fast.slot import widths_of
from core.model.fast.stash import Stash
from core.model.fast.work import Work

Tensor = torch.Tensor
_TOKENS = 512
"""One document, as long as cuDNN's attention takes it (``attention``)."""
_MOST = 0.15
"""Difference as a part of the norm. In bf16 the twin is 0.012 from itself in fp32 at most (first
layer of a Llama-3.2-1B); numbers of which an eighth is zero are 0.35 off."""
_SEED = 20_000
"""Of the dropout that is tried."""
_ROUNDED = 8
"""So many times may a number be rounded that passes by the layer."""
_OUTPUT, _GRADIENT = "its output", "the gradient of its input"


def layer_fails(model: Any, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why the first layer does not compute what its twin does, in words; None when it does.

    ``model`` is one that ``route.obstacle`` has nothing against; its numbers stay as they are, and
    no random number is drawn. Also None where there is no memory to try it.
    """
    try:
        found = _differences(model, dtype, device)
    except torch.OutOfMemoryError:
        return None
    except Exception as error:  # Triton's own are no RuntimeErrors, as torch's, cuBLAS' are
        return f"a layer of it does not run here: {first_line(error)}"
    wrong = {what: one for what, one in found.items() if not one < _MOST}
    if not wrong:
        return None
    what, most = next(iter(wrong.items()))
    return f"its kernels compute something else here than torch: {what} is off by {most:.0%}"


def _differences(model: Any, dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """How far the layer's results are from its twin's, each as a part of its norm."""
    (layer,), adapters = layers_of(model, dtype, device, count=1)
    generator = torch.Generator(device).manual_seed(0)
    adapters.weights.normal_(std=0.02, generator=generator)
    x, dy = (
        torch.randn(_TOKENS, layer.sizes.hidden, dtype=dtype, device=device, generator=generator)
        for _ in range(2)
    )
    # Of what passes by the layer, only the rounding counts: the layer may add little to it.
    beside = {_OUTPUT: x, _GRADIENT: dy}
    differences: dict[str, float] = {}
    for batch in _batches(model, dtype, device):
        found, wanted = (_results(one, adapters, batch, x, dy) for one in (layer, _twin(layer)))
        dropped = "with dropout, " if batch.mask else ""
        for what, values in found.items():
            differences[dropped + what] = _off(values, wanted[what], beside.get(what))
    return differences


def _twin(layer: Layer) -> Layer:
    """The same layer in plain torch."""
    groups = {
        name: replace(getattr(layer, name), pieces=plain)
        for name in ("qkv", "output", "gate_up", "down")
    }
    return replace(layer, **groups, attentions=Attentions("cpu"), pieces=plain)


def _batches(model: Any, dtype: torch.dtype, device: torch.device) -> list[Batch]:
    """One as an evaluation has it, and one with dropout where a training has that: kernels of
    their own."""
    ends = torch.tensor([0, _TOKENS], dtype=torch.int32, device=device)
    positions = torch.arange(_TOKENS, device=device)[None]
    like = torch.empty((), dtype=dtype, device=device)
    angles = model.get_base_model().model.rotary_emb(like, positions)
    cos, sin = (part[0, :, : part.shape[-1] // 2].contiguous() for part in angles)
    plain_batch = Batch(Documents(ends, _TOKENS, _TOKENS, True), cos, sin, None)
    part = dropout_of(model)
    if not part:
        return [plain_batch]
    seed = torch.full((), _SEED, dtype=torch.int64, device=device)
    return [plain_batch, replace(plain_batch, mask=Mask(part, seed))]


def _results(
    layer: Layer, adapters: Adapters, batch: Batch, x: Tensor, dy: Tensor
) -> dict[str, Tensor]:
    """The layer's output for x, and for ``dy`` the gradients of its input and its adapters."""
    adapters.grads.zero_()
    work = Work(layer, tile=_TOKENS, dtype=x.dtype, device=x.device)
    stash = Stash(
        1, widths_of(layer, x.dtype), kept=0, held=1, tokens=_TOKENS, dtype=x.dtype,
        device=x.device,
    )  # fmt: skip
    stash.begin([_TOKENS], keep=True)
    (running,) = work.running([_TOKENS])
    running.main.copy_(x)
    slot = stash.slot(0)
    layer.forward(work.expanded(layer), slot, running, batch, work)
    stash.filled(0, slot)
    found = {_OUTPUT: running.main.clone()}
    running.main.copy_(dy)
    weights = work.expanded(layer, back=True)
    layer.backward(weights, stash.load(0), running, batch, work, first=False)
    found[_GRADIENT] = running.main.clone()
    for (_, names), group in zip(GROUPS, layer.groups, strict=True):
        parts_a = group.grad_a.clone().chunk(len(names))
        rows = [weight.rows for weight in group.weights]
        parts_b = torch.split(adapters.grad_b(group.place).clone(), rows)
        for name, part_a, part_b in zip(names, parts_a, parts_b, strict=True):
            found[f"the gradient of A of {name}"] = part_a
            found[f"the gradient of B of {name}"] = part_b
    return found


def _off(found: Tensor, wanted: Tensor, beside: Tensor | None) -> float:
    """The difference, as a part of what is wanted or of what that has more than ``beside``."""
    if beside is None:
        return plain.difference(found, wanted)
    size = (wanted.float() - beside.float()).norm()
    size += _ROUNDED * torch.finfo(beside.dtype).eps * beside.float().norm()
    return float((found.float() - wanted.float()).norm() / size)
