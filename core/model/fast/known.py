"""Which models the fused path knows, told from config.json alone: no torch, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose decoder layer is the one that is written here."""
ARCHITECTURES = tuple(
    f"{name}ForCausalLM" for name in ("Llama", "Mistral", "Qwen2", "Qwen3")
)  # fmt: skip
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of each of their decoder layers; there are no others."""
_WINDOW = 4096
"""What transformers takes where config.json names no window; null means none."""
_FIRST_TO_SLIDE, _LAYERS = 28, 32
"""What it takes for a Qwen's ``max_window_layers`` and ``num_hidden_layers`` that are not named."""
_BLOCK = 64
"""Weights that share a constant in NF4; no row of a matrix may end within one."""
HEAD_WIDTHS = range(8, 257, 8)
"""Widths of a head that attention's kernels take."""
UNSAID_HEAD_WIDTHS = {"qwen3": 128}
"""What transformers takes where config.json names none, instead of a share of the hidden size."""


def odd_architecture(config: Mapping[str, Any]) -> str | None:
    """What a model of the families has that the path was not written for; None when nothing.

    ``config`` holds the fields of its config.json. A sliding window depends on the rows as well:
    ``odd_window``.
    """
    if config.get("hidden_act", "silu") != "silu":
        return f"the activation is {config['hidden_act']}, not silu"
    if config.get("attention_dropout"):
        return "attention has dropout"
    if (config.get("pretraining_tp") or 1) > 1:
        return "its products are cut into pieces (pretraining_tp)"
    if config.get("attention_bias") or config.get("mlp_bias"):
        return "o_proj or the MLP has a bias"
    return _odd_width(config)


def window_of(config: Mapping[str, Any]) -> int | None:
    """How many tokens a token sees, itself included, where attention slides; None: all before."""
    window = config.get("sliding_window", _WINDOW)
    if not isinstance(window, int) or not window:
        return None
    # All layers of a Mistral slide, whatever else its file says.
    return window if config.get("model_type") == "mistral" or _some_slide(config) else None


def _some_slide(config: Mapping[str, Any]) -> bool:
    """Whether a Qwen has layers that slide: as it names them, or those behind the first few."""
    if not config.get("use_sliding_window"):
        return False
    kinds = config.get("layer_types")
    if isinstance(kinds, list):
        return "sliding_attention" in kinds
    first, layers = (config.get(name) for name in ("max_window_layers", "num_hidden_layers"))
    first = first if isinstance(first, int) else _FIRST_TO_SLIDE
    return first < (layers if isinstance(layers, int) else _LAYERS)


def odd_window(window: int | None, longest: int) -> str | None:
    """Why rows of up to ``longest`` tokens are not attended to as without a window; None: they are.

    A window of w tokens hides those that are w or more behind. Rows that share a sequence do not
    see each other, so that the longest row counts and not the sequence.
    """
    if window is None or longest <= window:
        return None
    return (
        f"attention slides over a window of {window:,} tokens, and data.max_length lets rows have "
        f"{longest:,}"
    )


def _odd_width(config: Mapping[str, Any]) -> str | None:
    """Matrices whose rows do not end with a block of constants."""
    for name in ("hidden_size", "intermediate_size"):
        width = config.get(name)
        if isinstance(width, int) and width % _BLOCK:
            return f"{name} is {width}, which is no multiple of {_BLOCK}"
    return _odd_heads(config)


def _odd_heads(config: Mapping[str, Any]) -> str | None:
    """Heads that the kernels do not take, or that o_proj cannot be stored for."""
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    width = config.get("head_dim") or UNSAID_HEAD_WIDTHS.get(str(config.get("model_type")))
    if not width and isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
        width = hidden // heads
    if not isinstance(width, int):
        return None
    if width not in HEAD_WIDTHS:
        return f"attention heads are {width} wide, and its kernels take multiples of 8 up to 256"
    if isinstance(heads, int) and heads * width % _BLOCK:
        return f"{heads} heads of {width} make {heads * width}, which is no multiple of {_BLOCK}"
    return None
