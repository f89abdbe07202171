"""The numbers that estimates are made from: of a model by its shape, of a pass by the settings."""

from __future__ import annotations

from core.config.schema import RunConfig
from core.model.activations import Dims, Work
from core.model.shapes import Linear, ModelShape

_GROUPS = {
    "q_proj": "attention", "k_proj": "attention", "v_proj": "attention", "o_proj": "output",
    "gate_proj": "mlp", "up_proj": "mlp", "down_proj": "down",
    "qkv_proj": "attention", "gate_up_proj": "mlp",
}  # fmt: skip
"""Layers that read the same tensor; it is kept once for all of a group."""
_ATTENTION = ("attention", "output")


def dims_of(shape: ModelShape) -> Dims | None:
    """The sizes of a model, with usual values for those that its configuration does not name."""
    hidden, layers, vocab = shape.hidden_size, shape.layers, shape.vocab_size
    if not hidden or not layers or not vocab:
        return None
    heads = shape.heads or max(1, hidden // 128)
    width = shape.head_dim or hidden // heads
    intermediate = shape.intermediate_size or 4 * hidden
    # Two of the experts is what mixtures take that do not say.
    routes = (shape.experts_per_token or 2) if shape.experts > 1 else 0
    return Dims(
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        vocab=vocab,
        heads=heads,
        queries=heads * width,
        keys=(shape.kv_heads or heads) * width,
        head_norms=shape.architecture.startswith(("Qwen3", "Gemma3")),
        norms=4 if shape.architecture.startswith(("Gemma2", "Gemma3")) else 2,
        routes=routes,
        mlp=routes * (shape.expert_size or intermediate),
        capped_scores=shape.architecture.startswith("Gemma2"),
    )


def linears_of(shape: ModelShape, dims: Dims) -> tuple[Linear, ...]:
    """The linear layers: from the headers of the weights, else as Llama and its kin have them.

    Experts are those that config.json tells; where it does not, there is one MLP instead of them.
    """
    if shape.linears is not None:
        return shape.linears
    hidden, count, mixture = dims.hidden, dims.layers, shape.mixture
    attention = (
        Linear("q_proj", dims.queries, hidden, count),
        Linear("k_proj", dims.keys, hidden, count),
        Linear("v_proj", dims.keys, hidden, count),
        Linear("o_proj", hidden, dims.queries, count),
    )
    if mixture is None:
        return (*attention, *_mlp(dims.intermediate, hidden, count))
    return (
        *attention,
        Linear("gate", mixture.experts, hidden, mixture.sparse),
        *_mlp(mixture.size, hidden, mixture.experts * mixture.sparse, expert=True),
        *_mlp(mixture.shared, hidden, mixture.sparse),
        *_mlp(mixture.dense_size, hidden, count - mixture.sparse),
    )


def untold_experts(shape: ModelShape) -> bool:
    """There are experts, and neither weights nor config.json tell what they take."""
    return shape.experts > 1 and shape.linears is None and shape.mixture is None


def _mlp(wide: int, hidden: int, count: int, *, expert: bool = False) -> tuple[Linear, ...]:
    """The layers of so many gated MLPs; none where they have no width."""
    sizes = {"gate_proj": (wide, hidden), "up_proj": (wide, hidden), "down_proj": (hidden, wide)}
    return tuple(
        Linear(name, outputs, inputs, count, expert)
        for name, (outputs, inputs) in sizes.items()
        if wide and count
    )


def adapted_of(config: RunConfig, layers: tuple[Linear, ...]) -> tuple[Linear, ...]:
    """The layers that get an adapter."""
    targets = config.adapter.target_modules
    mixture = any(one.expert for one in layers)
    layers = tuple(one for one in layers if one.text and not one.expert)
    if isinstance(targets, str):
        return tuple(one for one in layers if not mixture or _GROUPS.get(one.name) in _ATTENTION)
    names = {target.rsplit(".", 1)[-1] for target in targets}
    return tuple(one for one in layers if one.name in names)


def work_of(
    config: RunConfig,
    adapted: tuple[Linear, ...],
    compute: int,
    *,
    shape: ModelShape | None = None,
    inputs_kept: bool = False,
) -> Work:
    """What settings and model ask of the activations.

    ``inputs_kept``: all layers learn themselves, so that each keeps its input.
    """
    dropped: dict[str, int] = {}
    for name in {one.name for one in adapted}:
        group = _GROUPS.get(name, "mlp")
        dropped[group] = dropped.get(group, 0) + 1
    attention = config.model.attn_implementation
    return Work(
        batch=config.train.per_device_train_batch_size,
        length=config.data.max_length,
        compute_bytes=compute,
        dropout=config.adapter.lora_dropout > 0,
        checkpointing=config.train.activation_checkpointing,
        packing=config.data.packing,
        eager=attention == "eager" or (attention == "auto" and bool(shape and shape.eager)),
        groups=frozenset(_GROUPS.values()) if inputs_kept else frozenset(dropped),
        dropped=dropped,
        dora=tuple(dict.fromkeys(adapted)) if config.adapter.use_dora else (),
        joined=any(one.name == "qkv_proj" for one in adapted),
        whole_logits=shape.whole_logits if shape else 0,
    )
