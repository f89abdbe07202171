"""Liger's real layers on a GPU: the loss and the gradients that a model has without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch

from core.config.files import from_overrides
from core.model import adapters, liger
from core.train.loss import LabelLoss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="its kernels need a GPU")
pytest.importorskip("liger_kernel", reason="an extra: pip install 'finetui[liger]'")

DEVICE = "cuda:0"
SIZES: dict[str, Any] = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 1000,
    "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OTHERS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": None},
    "mixtral": {"num_local_experts": 4},
}
ROWS, LENGTH = 2, 256


class Learned(NamedTuple):
    loss: float
    grads: dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    yield
    liger.take_off()


def adapted(kind: str) -> Any:
    """A model of bf16 with an adapter that does something, the same one each time."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    values = SIZES | OTHERS.get(kind, {})
    if kind == "phi3":
        del values["head_dim"]
    shape = AutoConfig.for_model(kind, **values)
    base = AutoModelForCausalLM.from_config(shape, attn_implementation="sdpa")
    base.to(DEVICE, torch.bfloat16).requires_grad_(False)
    wish = {"adapter.lora_dropout": "0", "train.activation_checkpointing": "false"}
    model = adapters.attach(base, from_overrides(wish).config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            source = torch.Generator().manual_seed(7)
            parameter.data = torch.randn(parameter.shape, generator=source).to(parameter) * 0.05
    return model.train()


def batch() -> dict[str, torch.Tensor]:
    """Rows of random tokens in which each token but the first of a row is predicted."""
    source = torch.Generator().manual_seed(1)
    ids = torch.randint(3, SIZES["vocab_size"], (ROWS, LENGTH), generator=source)
    rows = torch.tensor([n for n in range(ROWS * LENGTH) if (n + 1) % LENGTH])
    made = {"input_ids": ids, "rows": rows, "targets": ids.flatten()[rows + 1]}
    return {name: tensor.to(DEVICE) for name, tensor in made.items()}


def learn(model: Any) -> Learned:
    with torch.autocast("cuda", torch.bfloat16):
        loss = LabelLoss(model)(batch())
    loss.backward()
    named = model.named_parameters()
    return Learned(loss.item(), {n: p.grad.double().flatten() for n, p in named if p.requires_grad})


@pytest.mark.parametrize("kind", liger.FAMILIES)
def test_loss_and_gradients_are_those_of_the_models_own_layers(kind: str) -> None:
    wanted = learn(adapted(kind))
    model = adapted(kind)
    said = liger.put_on(model.get_base_model(), DEVICE)
    assert said == f"with Liger's norms, rotation and SwiGLU ({liger.installed()})"
    found = learn(model)
    assert found.loss == pytest.approx(wanted.loss, rel=2e-3)
    assert found.grads.keys() == wanted.grads.keys()
    for name, grad in wanted.grads.items():
        assert torch.nn.functional.cosine_similarity(found.grads[name], grad, 0) > 0.999, name


@pytest.mark.parametrize("kind", liger.FAMILIES)
def test_the_next_model_has_its_own_layers(kind: str) -> None:
    wanted = learn(adapted(kind))
    liger.put_on(adapted(kind).get_base_model(), DEVICE)
    liger.take_off()
    again = adapted(kind)
    assert not any("liger" in type(module).__module__ for module in again.modules())
    assert learn(again).loss == pytest.approx(wanted.loss, rel=1e-4)


def test_a_mixture_of_experts_stays_as_it_is() -> None:
    model = adapted("mixtral")
    before = [type(module) for module in model.modules()]
    assert liger.put_on(model.get_base_model(), DEVICE) is None
    assert [type(module) for module in model.modules()] == before
    assert torch.tensor(learn(model).loss).isfinite()
