"""The kernels of products in FP8 against their twins at the sizes of an 8B, on a GPU alone.

They once went wrong by how rows of these sizes lie in memory, which small ones did not show.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from bitsandbytes.nn import Params4bit
from test_fp8_fused import DEVICE, GPU, fused, same  # skips where there is no Triton

from core.model.fast import plain as bf16
from core.model.fast.adapters import Adapters
from core.model.fast.fp8 import plain
from core.model.fast.fp8.group import Fp8Group, Fp8Weight, scale_for
from core.model.fast.fp8.plain import FP8
from core.model.fast.linear import Wide
from core.model.fast.nf4 import Nf4, nf4_of

if not GPU:
    pytest.skip("sizes of an 8B are for a GPU", allow_module_level=True)

LONG = 2048
GROUPS = {
    "qkv": ((4096, 1024, 1024), 4096),
    "o": ((4096,), 4096),
    "gate_up": ((14336, 14336), 4096),
    "down": ((4096,), 14336),
}
"""Rows and columns of an 8B's groups of linears."""


@dataclass(frozen=True)
class Sized:
    """A group of real size through the kernels, and through their twins."""

    found: Fp8Group
    wanted: Fp8Group
    weight: Fp8Weight
    """The twins'."""

    def input(self, width: int) -> Wide:
        """Rows of all sizes; what lies beyond the ranks of their tails is not to be read."""
        x = torch.randn(LONG, width + self.wanted.pad, device=DEVICE)
        x *= torch.logspace(-4, 2, LONG, device=DEVICE)[:, None]
        return Wide(x.to(torch.bfloat16), width)

    def out(self, width: int, fill: float = 7.0) -> torch.Tensor:
        """A part of a wider tensor, as ``running`` and others are."""
        shape = LONG, width + self.wanted.pad
        return torch.full(shape, fill, dtype=torch.bfloat16, device=DEVICE)[:, :width]


@pytest.fixture(
    scope="module", params=[(name, rank) for name in GROUPS for rank in (8, 16, 64)],
    ids=lambda case: f"{case[0]}, rank {case[1]}",
)  # fmt: skip
def sized(request: pytest.FixtureRequest) -> Sized:
    name, rank = request.param
    weights = frozen(name)
    shapes = [(None, weight.rows, weight.columns) for weight in weights]
    adapters = Adapters([shapes], rank=rank, scaling=2.0, device=torch.device(DEVICE))
    adapters.weights.normal_(std=0.02)
    scale = scale_for(weights)
    found, wanted = (
        Fp8Group(weights, adapters.places[0], None, adapters, bf16, pieces, scale)
        for pieces in (fused, plain)
    )
    return Sized(found, wanted, wanted.expanded(spoiled(wanted.room)))


@functools.lru_cache(maxsize=1)
def frozen(name: str) -> tuple[Nf4, ...]:
    rows, columns = GROUPS[name]
    torch.manual_seed(0)
    weights = [torch.randn(count, columns, device=DEVICE) * 0.02 for count in rows]
    return tuple(
        nf4_of(SimpleNamespace(weight=Params4bit(weight, requires_grad=False).to(DEVICE)))
        for weight in weights
    )


def spoiled(count: int) -> torch.Tensor:
    """Memory that is NaN as bf16 and as e4m3."""
    return torch.full((count,), -1, dtype=torch.int16, device=DEVICE).view(torch.bfloat16)


def near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Every row counts alike: one of these that is wrong is enough."""
    found, wanted = found.float(), wanted.float()
    assert torch.isfinite(found).all()
    off = (found - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert float(off.square().mean().sqrt()) < 0.01


def beyond(part: torch.Tensor) -> torch.Tensor:
    """What is beside ``Sized.out``."""
    assert part._base is not None
    return part._base[:, part.shape[1] :]


def test_weights_and_adapters(sized: Sized) -> None:
    weight = sized.found.expanded(spoiled(sized.found.room))
    for name in ("forward", "backward"):
        same(getattr(weight, name), getattr(sized.weight, name))
    for name in ("a", "b"):
        near(getattr(weight, name), getattr(sized.weight, name))


@pytest.mark.parametrize("back", [False, True])
def test_one_direction(sized: Sized, back: bool) -> None:
    """As passes ask for it: adapters are there for both."""
    weight = sized.found.expanded(spoiled(sized.found.room), ahead=not back, back=back)
    name, other = ("backward", "forward") if back else ("forward", "backward")
    wanted = getattr(sized.weight, other)
    width = wanted.shape[1] - sized.found.tail
    same(getattr(weight, name), getattr(sized.weight, name))
    same(getattr(weight, other)[:, width:], wanted[:, width:])
    assert getattr(weight, other)[:, :width].float().isnan().all()


@pytest.mark.parametrize("back", [False, True])
def test_rows_and_products(sized: Sized, back: bool) -> None:
    group, weight = sized.wanted, sized.weight.backward if back else sized.weight.forward
    x, ranks = sized.input(weight.shape[1] - group.tail), group.place.ranks
    found = []
    for pieces in (plain, fused):
        rounded = torch.full((LONG, weight.shape[1]), torch.nan, device=DEVICE).to(FP8)
        scales = torch.full((LONG,), torch.nan, device=DEVICE)
        pieces.quantize(x.main, x.tail[:, :ranks], rounded, scales, group.scale)
        found.append((rounded, scales))
    (wanted, factors), (rounded, scales) = found
    same(rounded, wanted)
    same(rounded[:, x.main.shape[1] :], wanted[:, x.main.shape[1] :])
    assert torch.allclose(scales, factors, rtol=1e-6)
    outs = [sized.out(len(weight)) for _ in range(2)]
    for out, pieces in zip(outs, (plain, fused), strict=True):
        pieces.multiply(wanted, weight, out)
    near(outs[1], outs[0])
    for out, pieces in zip(outs, (plain, fused), strict=True):
        pieces.scale_rows(out, factors, out)
    near(outs[1], outs[0])
    assert (beyond(outs[1]) == 7).all()


def test_forward(sized: Sized) -> None:
    x, rows = sized.input(sized.found.columns), sized.found.rows
    weight = sized.found.expanded(spoiled(sized.found.room), back=False)
    wanted, out, raw = (sized.out(rows) for _ in range(3))
    sized.wanted.forward(x, sized.weight, wanted)
    sized.found.forward(x, weight, out)
    near(out, wanted)
    scales = sized.found.forward_raw(x, weight, raw)
    near(raw * scales[:, None], wanted)
    assert (beyond(out) == 7).all()
    assert (beyond(raw) == 7).all()
    # The residual that it is added to, as large as what is added.
    wanted, out = (torch.cat([wanted, beyond(wanted)], 1)[:, :rows] for _ in range(2))
    sized.wanted.forward(x, sized.weight, wanted, onto=True)
    sized.found.forward(x, weight, out, onto=True)
    near(out, wanted)


def test_the_gradient_of_the_input(sized: Sized) -> None:
    dy, columns = sized.input(sized.found.rows), sized.found.columns
    weight = sized.found.expanded(spoiled(sized.found.room), ahead=False)
    wanted, out, raw = (sized.out(columns) for _ in range(3))
    sized.wanted.backward_input(dy, sized.weight, wanted, None)
    sized.found.backward_input(dy, weight, out, None)
    near(out, wanted)
    scales = sized.found.backward_input_raw(dy, weight, raw, None)
    assert scales is not None
    near(raw * scales[:, None], wanted)
    assert (beyond(out) == 7).all()
    assert (beyond(raw) == 7).all()
