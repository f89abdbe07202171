"""The fields of a config.json that are reckoned with, checked: it comes from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from core.config.errors import InputError
from core.model.fast.known import FAMILIES

HIDDEN = ("hidden_size", "n_embd", "d_model")
HEADS = ("num_attention_heads", "n_head", "n_heads")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
WIDE = ("intermediate_size", "n_inner", "ffn_dim")
CONTEXT = ("max_position_embeddings", "n_positions")
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
ROUTES = ("num_experts_per_tok", "num_experts_per_token")
_POSITIVE = (*HIDDEN, *HEADS, *LAYERS, *WIDE, "vocab_size", "num_key_value_heads", "head_dim")
_COUNTED = (*EXPERTS, *ROUTES, "moe_intermediate_size")
"""Numbers that may be zero: models without experts say so."""
_MOST = dict.fromkeys(LAYERS, 10**4) | {"vocab_size": 10**8}
_MOST_ELSE = 10**7
"""More than any model has, of layers, tokens, and widths and counts; but of its context, which some
files call endless."""
_NEVER_NULL = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
"""What transformers has defaults for where a file of the families does not say it, and refuses
where it says null."""
_LONGEST_SHOWN = 60
UNKNOWN = "unknown"
"""The architecture of a model whose config.json names none."""


def checked(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the model ``name``, where whole numbers written as 4096.0 are whole.

    Raises InputError for numbers that no model has. What differs by layer is a list in some files,
    and is left as it is.
    """
    found = dict(fields)
    _check_nulls(name, found)
    for field in (*_POSITIVE, *_COUNTED, *CONTEXT):
        value = found.get(field)
        if value is None or isinstance(value, list):
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(name, field, value, "must be a whole number")
        least = 1 if field in _POSITIVE else 0
        if value < least and field not in CONTEXT:  # of which some models say -1: no end
            raise _wrong(name, field, value, f"must be {least} or more")
        if value > (most := _MOST.get(field, _MOST_ELSE)) and field not in CONTEXT:
            raise _wrong(name, field, value, f"no model has more than {most:,}")
        found[field] = value
    _check_heads(name, found)
    return found


def _check_nulls(name: str, fields: Mapping[str, Any]) -> None:
    for field in _NEVER_NULL if fields.get("model_type") in FAMILIES else ():
        if field in fields and fields[field] is None:
            raise _wrong(name, field, None, "must be a whole number")


def _check_heads(name: str, fields: Mapping[str, Any]) -> None:
    hidden, heads = number(fields, *HIDDEN), number(fields, *HEADS)
    keys = number(fields, "num_key_value_heads")
    if heads and keys and heads % keys:
        raise _wrong(name, "num_key_value_heads", keys, f"must divide the {heads} heads")
    # Other families have names of their own for the width of a head.
    own = fields.get("model_type") in FAMILIES and not fields.get("head_dim")
    if own and heads and hidden and hidden % heads:
        field = next(field for field in HEADS if fields.get(field))
        raise _wrong(name, field, heads, f"must divide the hidden size of {hidden}")


def architecture_of(name: str, config: Mapping[str, Any]) -> str:
    """The first of the classes that a config.json names; ``UNKNOWN`` where it names none.

    Raises InputError where that is no list of names.
    """
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise _wrong(name, "architectures", named, "must be a list of names")
    return named[0] if named else UNKNOWN


def unloadable(config: Mapping[str, Any]) -> str:
    """Why transformers loads no model with this config.json, whatever else is in it; else empty."""
    if isinstance(kind := config.get("model_type"), str) and kind:
        return ""
    return "its config.json names no model_type, by which transformers knows what to load"


def number(fields: Mapping[str, Any], *names: str) -> int | None:
    """The first of these that is a whole number."""
    return next((fields[name] for name in names if isinstance(fields.get(name), int)), None)


def _wrong(name: str, field: str, value: object, wanted: str) -> InputError:
    shown = json.dumps(value, ensure_ascii=False)
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}…"
    return InputError(
        f"config.json of {name}: {field} is {shown}, and {wanted}",
        kind="bad_model",
        remedies=("take the config.json that the model came with, or download it again",),
    )
