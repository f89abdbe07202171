"""Experts of a mixture by its config.json alone: how many, how wide, and in which layers.

They are most of such a model, and stay in 16 bit: an estimate without them is several times too
low. Families name the same facts differently; what is not told comes out as None, never as a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.model.fields import EXPERTS

_SIZES = ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
"""Inner width of one expert: the first that is there."""
_SHARED_SIZES = (
    "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
)  # fmt: skip
_SHARED_COUNTS = (
    "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts",
)  # fmt: skip
_APART = ("ffn_config", "moe_config")
"""Where some families keep what they say of experts; that there are any is all that is read."""
_COUNTED, _OF_A_TOKEN = re.compile(r"(num|^n)_.*experts?$"), re.compile("per_tok|top|shared|_group")
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Mixture:
    """The MLPs of a mixture, layer by layer the same but for those without experts."""

    experts: int
    size: int
    """Inner width of one expert."""
    sparse: int
    """Layers with experts."""
    shared: int
    """Inner width beside the experts that every token goes through, in a layer with experts."""
    dense_size: int
    """Inner width of the MLP in a layer without experts."""


def count_of(text: Mapping[str, Any]) -> int:
    """How many experts a layer has, also where all else of them cannot be told; 0: it is dense."""
    told = _whole(text, *EXPERTS)
    if told is not None:
        return told
    places = [text, *(text[name] for name in _APART if isinstance(text.get(name), Mapping))]
    return max((_some(value) for place in places for value in _counts(place)), default=0)


def _counts(place: Mapping[str, Any]) -> Iterator[Any]:
    """What keys hold that count experts by any name: `num_experts`, `moe_num_primary_experts`."""
    for name, value in place.items():
        if _COUNTED.search(name) and not _OF_A_TOKEN.search(name):
            yield value


def _some(value: object) -> int:
    """A number, or the largest of a list, one for each layer."""
    values = value if isinstance(value, list) else [value]
    return max((one for one in values if type(one) is int), default=0)


def mixture_of(text: Mapping[str, Any], layers: int | None) -> Mixture | None:
    """The experts that a language model's configuration tells; None where it does not."""
    count, size = _whole(text, *EXPERTS), _whole(text, *_SIZES)
    shared = _shared(text, size) if size else None
    sparse = _sparse(text, layers) if layers and 0 < layers <= _MOST_LAYERS else None
    if not count or not size or shared is None or sparse is None:
        return None
    dense = _whole(text, "intermediate_size_mlp", "intermediate_size") or size
    return Mixture(count, size, sparse, shared, dense)


def _whole(text: Mapping[str, Any], *names: str) -> int | None:
    """The first of the names that says something, where it is a number; else None."""
    said = next((text[name] for name in names if text.get(name) is not None), None)
    return said if type(said) is int and said >= 0 else None


def _shared(text: Mapping[str, Any], size: int) -> int | None:
    """Inner width of what all tokens go through; None where it is not a number."""
    if text.get("enable_moe_block"):
        return _whole(text, "intermediate_size")  # Gemma 4: the MLP stays beside the experts
    if any(text.get(name) is not None for name in _SHARED_SIZES):
        return _whole(text, *_SHARED_SIZES)
    if any(text.get(name) is not None for name in _SHARED_COUNTS):
        count = _whole(text, *_SHARED_COUNTS)
        return None if count is None else count * size
    return size if str(text.get("model_type")).startswith("llama4") else 0


_RULES: dict[str, Callable[[int, int], bool]] = {
    "first_k_dense_replace": lambda layer, first: layer >= first,
    "num_dense_layers": lambda layer, first: layer >= first,
    "moe_layer_start_index": lambda layer, first: layer >= first,
    "moe_layer_end_index": lambda layer, last: last < 0 or layer <= last,
    "decoder_sparse_step": lambda layer, step: (layer + 1) % step == 0,
    "interleave_moe_layer_step": lambda layer, step: (layer + 1) % step == 0,
    "moe_layer_interval": lambda layer, step: (layer + 1) % step == 0,
    "moe_layer_freq": lambda layer, step: layer % step == 0,
}
"""Whether a layer has experts, by the number that a key holds."""
_LISTS: dict[str, Callable[[int, list[Any]], bool]] = {
    "mlp_only_layers": lambda layer, dense: layer not in dense,
    "moe_layers": lambda layer, sparse: layer in sparse,
    "moe_layer_freq": lambda layer, marks: bool(marks[layer]),
    "mlp_layer_types": lambda layer, kinds: kinds[layer] == "sparse",
}
"""The same of keys that hold a list."""
_UNREAD = ("hybrid_override_pattern", "moe_layers_enum", "moe_layer_frequency")
"""Other ways to say it, of families that are not known here."""


def _sparse(text: Mapping[str, Any], layers: int) -> int | None:
    """How many layers have experts: all but those that a key rules out; None where one is odd."""
    if any(text.get(name) is not None for name in _UNREAD):
        return None
    period, offset = _whole(text, "expert_layer_period"), _whole(text, "expert_layer_offset") or 0
    try:
        return sum(
            all(_holds(text, name, layer) for name in (*_RULES, *_LISTS))
            and (period is None or layer % period == offset)
            for layer in range(layers)
        )
    except (TypeError, IndexError, ZeroDivisionError):
        return None


def _holds(text: Mapping[str, Any], name: str, layer: int) -> bool:
    said = text.get(name)
    if said is None:
        return True
    if isinstance(said, list):
        return _LISTS[name](layer, said) if name in _LISTS else _odd(name)
    return _RULES[name](layer, said) if name in _RULES else _odd(name)


def _odd(name: str) -> bool:
    raise TypeError(name)
