"""Cells that keep their input and attention's output alone, beside those that keep the rest too.

On a GPU with kernels, copies to pinned memory and recorded launches, elsewhere with plain twins.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fast_models import adapted, flat_batch, gradients, whole

from core.model.fast.model import FastModel
from core.model.fast.plan import Plan

GPU = torch.cuda.is_available()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("plan", [Plan(0), Plan(4, mlp_tokens=16)])
def test_they_learn_the_same_to_the_last_bit(
    family: str, dropout: float, dtype: torch.dtype, plan: Plan
) -> None:
    """Of several pieces, in which documents lie end to end."""
    model = adapted(family, lora_dropout=dropout).to(dtype)
    first, second = flat_batch([7, 20]), flat_batch([13, 4, 2])
    found = []
    for light in (False, True):
        torch.manual_seed(5)
        loss = FastModel(model, replace(plan, light=light))(whole(first, second))
        loss.backward()
        found.append(gradients(model) | {"loss": loss.detach()})
    for name, wanted in found[0].items():
        assert torch.equal(found[1][name], wanted), name


def test_an_evaluation_is_the_same() -> None:
    model, batch = adapted("qwen3"), whole(flat_batch([7, 20, 1, 13]))
    with torch.no_grad():
        losses = [FastModel(model, Plan(0, light=light))(batch) for light in (False, True)]
    assert losses[0] == losses[1]


@pytest.mark.skipif(not GPU, reason="copies to the host and recorded launches are a GPU's")
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(("kept", "held"), [(0, 0), (2, 1), (6, 6)])
@pytest.mark.parametrize("fp8", [False, True])
def test_they_learn_the_same_on_a_gpu(
    family: str, dropout: float, kept: int, held: int, fp8: bool
) -> None:
    """But for what attention's backward pass adds in any order, and what FP8 makes of that."""
    pieces = whole(*(flat_batch(part, device="cuda") for part in ([64, 30, 34], [100, 28])))
    plan = Plan(kept, held, mlp_tokens=64, micro_batch=2, longest=128)
    found: list[list[torch.Tensor]] = []
    losses: list[list[float]] = []
    for light in (False, True):
        model = adapted(family, lora_dropout=dropout).to(torch.bfloat16).to("cuda")
        fast = FastModel(model, replace(plan, light=light), fp8=fp8)
        found.append([])
        losses.append([])
        for _ in range(4):  # as it is, recorded, replayed
            torch.manual_seed(6)
            loss = fast(pieces)
            loss.backward()
            losses[-1].append(loss.item())
            found[-1].append(torch.cat([g.float().flatten() for g in gradients(model).values()]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for one, other in zip(*found, strict=True):
        assert torch.isfinite(one).all()
        assert float(torch.nn.functional.cosine_similarity(one, other, dim=0)) > (
            0.999 if fp8 else 0.9999
        )
