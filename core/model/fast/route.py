"""Which models take the fused path, why another does not, and how its parts are put together."""

from __future__ import annotations

import functools
from typing import Any

import torch

from core.model.fast import plain
from core.model.fast.adapters import Adapters, Place
from core.model.fast.attention import Attentions
from core.model.fast.fp8 import plain as fp8_plain
from core.model.fast.fp8.group import Fp8Group, scale_for
from core.model.fast.head import Head
from core.model.fast.known import FAMILIES, odd_architecture, odd_window, window_of
from core.model.fast.layer import Layer, Sizes
from core.model.fast.linear import Group
from core.model.fast.nf4 import Nf4, nf4_of, unsupported
from core.model.fast.plan import Plan
from core.model.fast.streamed import Belt, StreamedHead

GROUPS = (
    ("self_attn", ("q_proj", "k_proj", "v_proj")),
    ("self_attn", ("o_proj",)),
    ("mlp", ("gate_proj", "up_proj")),
    ("mlp", ("down_proj",)),
)
"""Linears with one input, by the module that they are in; in the order of ``Layer.groups``."""


def obstacle(model: Any, longest: int) -> str | None:
    """Why a PEFT model cannot take the fused path, in words; None when it can.

    ``longest``: tokens that a row may have. Device and precision are the caller's to decide.
    """
    config = model.get_base_model().config
    if config.model_type not in FAMILIES:
        return f"it is written for {', '.join(FAMILIES)}, not for {config.model_type}"
    values = config.to_dict()
    odd = odd_architecture(values) or odd_window(window_of(values), longest)
    return odd or _odd_adapter(model) or _odd_layers(model)


def _odd_adapter(model: Any) -> str | None:
    names = model.active_adapters
    if len(names) != 1 or len(model.peft_config) != 1:
        return f"there are {len(model.peft_config)} adapters, not one"
    lora = model.peft_config[names[0]]
    if str(getattr(lora.peft_type, "value", lora.peft_type)) != "LORA":
        return f"the adapter is {lora.peft_type}, not LoRA"
    wanted = {
        "use_dora": "DoRA",
        "modules_to_save": "modules that are trained whole",
        "rank_pattern": "ranks that differ by layer",
        "alpha_pattern": "scalings that differ by layer",
        "trainable_token_indices": "tokens that are trained",
        "lora_bias": "biases that are trained",
    }
    found = next((word for name, word in wanted.items() if getattr(lora, name, None)), None)
    if found is None and lora.bias != "none":
        found = "biases that are trained"
    return f"the adapter has {found}" if found else None


def _odd_layers(model: Any) -> str | None:
    causal = model.get_base_model()
    adapted = 0
    for number, layer in enumerate(causal.model.layers):
        for parent, names in GROUPS:
            for name in names:
                linear = getattr(getattr(layer, parent), name)
                frozen = getattr(linear, "base_layer", linear)
                why = unsupported(frozen)
                if why is None and frozen.bias is not None and name not in GROUPS[0][1]:
                    why = "it has a bias"
                if why is None and getattr(linear, "lora_variant", None):
                    why = "its adapter is a variant of LoRA"
                if why is None and getattr(linear, "merged", False):
                    why = "its adapter is merged"
                if why:
                    return f"{name} of layer {number}: {why}"
                adapted += linear is not frozen
    others = sum(hasattr(module, "lora_A") for module in model.modules()) - adapted
    return (
        f"{others} adapters are on other modules than the decoder's linear layers"
        if others
        else None
    )


def dropout_of(model: Any) -> float:
    """The part that a PEFT model's only adapter drops while it trains."""
    return float(model.peft_config[model.active_adapters[0]].lora_dropout)


def layers_of(
    model: Any, dtype: torch.dtype, device: torch.device, *, fp8: bool = False,
    count: int | None = None,
) -> tuple[list[Layer], Adapters]:  # fmt: skip
    """The parts of a model that ``obstacle`` has nothing against.

    ``fp8``: products in FP8. ``count``: only so many layers, the first.
    """
    causal = model.get_base_model()
    linears = [
        [[getattr(getattr(layer, parent), name) for name in names] for parent, names in GROUPS]
        for layer in causal.model.layers
    ]
    sample = next(one for layer in linears for group in layer for one in group
                  if hasattr(one, "lora_A"))  # fmt: skip
    name, linears = sample.active_adapters[0], linears[:count]
    adapters = Adapters(
        [
            [(_adapted(one), _frozen(one).weight.quant_state.shape[0],
              _frozen(one).weight.quant_state.shape[1]) for one in group]
            for layer in linears for group in layer
        ],
        rank=sample.r[name], scaling=float(sample.scaling[name]), device=device,
    )  # fmt: skip
    pieces = pieces_for(device)
    sizes, attentions = _sizes(causal.config), Attentions(device.type)
    places = iter(adapters.places)
    layers = []
    for number, (module, groups) in enumerate(
        zip(causal.model.layers[:count], linears, strict=True)
    ):
        qkv, output, gate_up, down = [
            _group(tuple(nf4_of(_frozen(one)) for one in group), next(places), _bias(group, dtype),
                   adapters, device, fp8=fp8)
            for group in groups
        ]  # fmt: skip
        attention = module.self_attn
        norms = (attention.q_norm.weight, attention.k_norm.weight) if hasattr(
            attention, "q_norm") else None  # fmt: skip
        layers.append(
            Layer(number, sizes, qkv, output, gate_up, down, module.input_layernorm.weight,
                  module.post_attention_layernorm.weight, norms, attentions, pieces)
        )  # fmt: skip
    return layers, adapters


def head_of(
    model: Any, plan: Plan, weight: torch.Tensor, device: torch.device
) -> Head | StreamedHead:
    """Final norm and output head, whose ``weight`` lies where the plan wants it."""
    causal = model.get_base_model()
    norm, eps, pieces = causal.model.norm.weight, _sizes(causal.config).eps, pieces_for(device)
    if plan.host_head:
        return StreamedHead(norm, eps, Belt(weight, device), plan.loss_rows, pieces)
    return Head(norm, eps, weight, plan.loss_rows, pieces)


def kernels_fail(device: torch.device) -> str | None:
    """Why the kernels do not run on this machine, tried on a small one; None when they do.

    Triton needs a C compiler and Python's headers, which a bare machine may lack.
    """
    x = torch.randn(4, 64, device=device)
    out, wanted, ones = torch.empty_like(x), torch.empty_like(x), torch.ones(64, device=device)
    try:
        pieces_for(device).rms_norm(x, ones, 1e-6, out)
        plain.rms_norm(x, ones, 1e-6, wanted)
        right = torch.allclose(out, wanted, atol=1e-5)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler, a linker or a driver may say
        lines = str(error).strip().splitlines()
        return f"Triton does not run here: {lines[-1] if lines else type(error).__name__}"
    return None if right else "Triton computes something else here than it should"


@functools.cache
def pieces_for(device: torch.device) -> Any:
    """The kernels on a GPU, their twins elsewhere."""
    if device.type != "cuda":
        return plain
    from core.model.fast import fused

    return fused


def _group(
    weights: tuple[Nf4, ...], place: Place, bias: torch.Tensor | None, adapters: Adapters,
    device: torch.device, *, fp8: bool,
) -> Group:  # fmt: skip
    pieces = pieces_for(device)
    if not fp8:
        return Group(weights, place, bias, adapters, pieces)
    eight, scale = fp8_pieces_for(device), scale_for(weights)
    return Fp8Group(weights, place, bias, adapters, pieces, eight, scale)


@functools.cache
def fp8_pieces_for(device: torch.device) -> Any:
    """What products in FP8 are made of: the kernels on a GPU, their twins elsewhere."""
    if device.type != "cuda":
        return fp8_plain
    from core.model.fast.fp8 import fused

    return fused


def _adapted(linear: Any) -> Any | None:
    return linear if hasattr(linear, "lora_A") else None


def _frozen(linear: Any) -> Any:
    return getattr(linear, "base_layer", linear)


def _bias(group: list[Any], dtype: torch.dtype) -> torch.Tensor | None:
    """The biases of a group in one vector; linears without one count as zero."""
    parts = [_frozen(one) for one in group]
    if all(part.bias is None for part in parts):
        return None
    return torch.cat(
        [
            part.bias.detach().to(dtype) if part.bias is not None
            else part.weight.new_zeros(part.weight.quant_state.shape[0], dtype=dtype)
            for part in parts
        ]
    )  # fmt: skip


def _sizes(config: Any) -> Sizes:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Sizes(
        config.hidden_size, config.num_attention_heads, config.num_key_value_heads, width,
        config.rms_norm_eps,
    )  # fmt: skip
