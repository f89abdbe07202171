"""A model loaded with embedding and output head in RAM, against one that is all on the device.

On a GPU with kernels, streams and pinned memory, elsewhere with their plain twins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fast_models import flat_batch, whole

from core.config.files import from_overrides
from core.config.schema import RunConfig
from core.model import adapters, load
from core.model.fast.model import FastModel
from core.model.fast.plan import Plan
from core.model.fast.route import obstacle
from core.train.loss import LabelLoss

GPU = torch.cuda.is_available()
DEVICE = "cuda:0" if GPU else "cpu"
ON_HOST = frozenset({"embedding", "head"})
LOSS_LIMIT, COSINE_LIMIT = (2e-3, 0.9995) if GPU else (1e-6, 1 - 1e-9)
"""How near both are: the streamed head adds up in another order, on a GPU in bf16."""
TOKENS, PIECES, PASSES = (
    (1024, [[500, 300, 224], [700, 324]], 4) if GPU else (32, [[15, 10, 7], [20, 12]], 2)
)
"""On the device the second pass is recorded as a CUDA graph, and later ones are replayed."""

needs_gpu = pytest.mark.skipif(not GPU, reason="without a GPU all lies in RAM")


class Learned(NamedTuple):
    """What a few passes over the same batch gave."""

    losses: list[float]
    grads: list[torch.Tensor]
    held_out: float


def config(folder: Path, **adapter: str) -> RunConfig:
    wish = {f"adapter.{name}": value for name, value in adapter.items()}
    place = {"model.name_or_path": str(folder), "run.devices": "auto" if GPU else "cpu"}
    return from_overrides(place | {"adapter.lora_dropout": "0"} | wish).config


def adapted(settings: RunConfig, on_host: frozenset[str]) -> Any:
    """The model with an adapter that does something, the same one each time."""
    base = load.load_base(settings, quantized=True, device=DEVICE, on_host=on_host)
    model = adapters.attach(base, settings)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            source = torch.Generator().manual_seed(len(name))
            parameter.data = (torch.randn(parameter.shape, generator=source) * 0.02).to(parameter)
    return model.train()


def batch(model: Any) -> dict[str, Any]:
    vocabulary = model.get_base_model().config.vocab_size
    return whole(*(flat_batch(part, vocabulary=vocabulary, device=DEVICE) for part in PIECES))


def fast(model: Any, **plan: Any) -> FastModel:
    return FastModel(
        model, Plan(0, micro_batch=2, piece=1, longest=TOKENS, loss_rows=TOKENS // 8, **plan)
    )


def streamed(model: Any) -> FastModel:
    return fast(model, host_embedding=True, host_head=True, mlp_tokens=TOKENS // 2)


def learn(model: FastModel, given: dict[str, Any]) -> Learned:
    losses, grads = [], []
    for _ in range(PASSES):
        model.adapters.drop_grads()
        loss = model(given)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        grads.append(model.adapters.grads.clone())
    with torch.no_grad():
        return Learned(losses, grads, model(given).item())


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.double(), other.double(), 0).item()


@pytest.fixture
def far(tiny_model: Path) -> Any:
    return adapted(config(tiny_model), ON_HOST)


def test_the_tables_alone_are_in_ram(far: Any) -> None:
    causal = far.get_base_model()
    tables = {causal.get_input_embeddings().weight, causal.get_output_embeddings().weight}
    assert {table.device.type for table in tables} == {"cpu"}
    others = {parameter.device for parameter in far.parameters() if parameter not in tables}
    assert others == {torch.device(DEVICE)}
    assert not any(hasattr(module, "_hf_hook") for module in far.modules())
    assert obstacle(far, 64) is None


@pytest.mark.usefixtures("small_tiles")
def test_it_learns_what_a_model_on_the_device_learns(far: Any, tiny_model: Path) -> None:
    near = learn(fast(adapted(config(tiny_model), frozenset())), batch(far))
    found = learn(streamed(far), batch(far))
    for mine, theirs in zip(found.losses, near.losses, strict=True):
        assert mine == pytest.approx(theirs, rel=LOSS_LIMIT)
    for one, other in zip(found.grads, near.grads, strict=True):
        assert cosine(one, other) > COSINE_LIMIT
        assert float(one.norm()) == pytest.approx(float(other.norm()), rel=20 * LOSS_LIMIT)
    assert found.held_out == pytest.approx(near.held_out, rel=LOSS_LIMIT)


@pytest.mark.usefixtures("small_tiles")
def test_each_pass_gives_the_same(far: Any) -> None:
    """A tile that comes late or is overwritten early would show here."""
    found = learn(streamed(far), batch(far))
    assert found.losses == [found.losses[0]] * PASSES
    # Without train.full_determinism attention's backward pass adds in any order.
    least = 1 - 1e-5 if GPU else 1 - 1e-12
    assert all(cosine(grads, found.grads[0]) > least for grads in found.grads)
    assert found.held_out == pytest.approx(found.losses[0], rel=LOSS_LIMIT)


@needs_gpu
def test_pinned_tables_leave_nothing_on_the_device(far: Any) -> None:
    model, causal = streamed(far), far.get_base_model()
    assert model._embedding.is_pinned()
    assert model._head.belt.table.is_pinned()
    causal.to(DEVICE)
    parts = (causal.get_input_embeddings(), causal.get_output_embeddings())
    assert [part.weight.numel() for part in parts] == [0, 0]


def test_what_the_fused_path_cannot_trains_on_the_device(tiny_model: Path) -> None:
    model = adapted(config(tiny_model, use_dora="true"), ON_HOST)
    assert obstacle(model, 64) == "the adapter has DoRA"
    load.to_device(model.get_base_model(), DEVICE)
    assert {parameter.device for parameter in model.parameters()} == {torch.device(DEVICE)}
    piece = batch(model)["pieces"][0]
    given = {name: piece[name] for name in ("rows", "targets")}
    with torch.autocast(DEVICE.partition(":")[0], torch.bfloat16, enabled=GPU):
        loss = LabelLoss(model)(given | {"input_ids": piece["input_ids"][None]})
    loss.backward()
    assert loss.isfinite()
    grads = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert grads
    assert all(grad is not None and grad.isfinite().all() for grad in grads)
