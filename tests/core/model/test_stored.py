"""What is counted, against what a really loaded model takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from known_shapes import config, needed

from core.model.shapes import shape_of


@pytest.mark.trains
@pytest.mark.parametrize("changes", [{}, {"bnb_4bit_use_double_quant": "no"}, {"r": "4"}])
def test_what_can_be_counted_is_what_a_loaded_model_takes(
    tiny_model: Path, changes: dict[str, str]
) -> None:
    import torch

    from core.model import adapters, load
    from core.train.arguments import sft_config

    wish = config(**{"model.name_or_path": str(tiny_model), "devices": "cpu", **changes})
    expected = needed(wish, shape_of(str(tiny_model)), gpu=False)
    base = load.load_base(wish, quantized=True, device="cpu")
    head, embedding = base.get_output_embeddings().weight, base.get_input_embeddings().weight
    assert expected.head == head.nbytes
    assert expected.embedding == embedding.nbytes
    stored = sum(_stored(p) for p in base.parameters()) - head.nbytes - embedding.nbytes
    assert expected.weights == pytest.approx(stored, rel=0.01)
    model = adapters.attach(base, wish)
    learning = [p for p in model.parameters() if p.requires_grad]
    assert expected.adapter == sum(p.nbytes for p in learning)
    arguments = sft_config(wish, tiny_model, device="cpu", dtype=torch.float32)
    for p in learning:
        p.grad = torch.ones_like(p)
    optimizer = _optimizer(arguments, learning)
    optimizer.step()
    assert expected.gradients == sum(p.grad.nbytes for p in learning if p.grad is not None)
    state = sum(_tensor_bytes(values) for values in optimizer.state.values())
    # Two tables of 256 numbers are shared by all.
    assert expected.optimizer == pytest.approx(state, rel=0.02)


def _stored(parameter: Any) -> int:
    """Bytes of a parameter with its quantization constants."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return int(parameter.nbytes)
    constants = state.absmax.nbytes
    if state.nested:
        constants += state.state2.absmax.nbytes + state.offset.nbytes
    return int(parameter.nbytes + constants)


def _optimizer(arguments: Any, learning: list[Any]) -> Any:
    from transformers import Trainer

    kind, values = Trainer.get_optimizer_cls_and_kwargs(arguments)
    return kind(learning, **values)


def _tensor_bytes(values: dict[str, Any]) -> int:
    return sum(
        value.nbytes for name, value in values.items()
        if hasattr(value, "nbytes") and not name.startswith("qmap") and value.ndim
    )  # fmt: skip
