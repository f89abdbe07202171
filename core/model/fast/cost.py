"""How long the fused path takes, reckoned from measured rates, so that plans can be compared.

Milliseconds of an H100; other cards are slower in much the same proportions, so that the same plan
is the fastest there. docs/performance.md has what was measured beside what is reckoned here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.model.fast.dims import Dims
    from core.model.fast.plan import Plan

_PRODUCTS = 690e9
"""Operations of matrix products a millisecond."""
_FP8_PRODUCTS = 1250e9
"""The same in FP8, where the larger part is scaled behind the product."""
_ROUNDED = 900e6
"""Elements a millisecond that are rounded to FP8."""
_ATTENTION_FORWARD, _ATTENTION_BACKWARD = (620e9, 608), (560e9, 1315)
"""Operations of attention a millisecond in a long document, and the length in tokens at which they
are half as many. Measured: 464 and 343 at 2,048, 677 and 551 at 32,768, 588 and 558 at 131,072,
512 and 506 at 349,440, where the card's power ends."""
_BACKWARD_OF_ATTENTION = 2.5
"""Its operations, of those of the forward pass."""
_ELEMENTS = 370e6
"""Elements a millisecond that norms, rotation, SwiGLU and thin products pass over, both ways."""
_EXPANDED = 2.7e9
"""Bytes a millisecond while weights are dequantized."""
_BUS = 50e6
"""Bytes a millisecond to the host, and as many back. 48 to 55 were measured."""
_CELL, _TILE = 0.22, 0.14
"""What a piece of one layer takes both ways beyond its tokens, and a tile of its MLP: kernels that
begin and end with an idle GPU. Pieces of 1 and 2 x 2048 tokens differ by 0.36 ms a cell, which is
shared out by launches, 31 and 19."""
_FORWARD = 1 / 3
"""Share of the forward pass in elements and launches."""
_LIGHT_LAUNCHES = 0.2
"""What a light cell launches once more, of a piece of one layer: 6 of 31."""


def pass_ms(dims: Dims, plan: Plan) -> dict[str, float]:
    """Milliseconds of a full pass, forward and backward, by what takes them."""
    cells = dims.layers * plan.pieces
    forward, backward = _forward(dims, plan), _backward(dims, plan)
    copies = copies_ms(dims, plan) * (1 - min(plan.held, cells) / cells)
    found = {key: forward[key] + backward[key] for key in forward}
    found["gate and up again"] = _again(dims, plan)
    found["light cells again"] = _light(dims, plan) if plan.light else 0.0
    found["output head"] = _head(dims, plan)
    again = found["gate and up again"] + found["light cells again"]
    computing = sum(forward.values()), sum(backward.values()) + again
    found["waiting for copies"] = sum(max(0.0, copies - part) for part in computing)
    return found


def copies_ms(dims: Dims, plan: Plan) -> float:
    """What the copies of a pass to the host take where no cell is held, and back as long."""
    return dims.layers * _tokens(plan) * dims.slot(light=plan.light) * 2 / _BUS


def cells_worth_holding(dims: Dims, plan: Plan) -> int:
    """As many as keep the copies of the others from making the forward pass wait."""
    computing, copies = sum(_forward(dims, plan).values()), copies_ms(dims, plan)
    return math.ceil(dims.layers * plan.pieces * max(0.0, 1 - computing / copies))


def _forward(dims: Dims, plan: Plan) -> dict[str, float]:
    attention = 2 * plan.longest * dims.queries * dims.layers * _tokens(plan)
    return {
        "products": _products(dims, plan),
        "attention": attention / _at_length(plan.longest, *_ATTENTION_FORWARD),
        "elements": _FORWARD * _elements(dims, plan),
        "dequantization": _dequantization(dims),
        "launches": _FORWARD * _launches(dims, plan),
    }


def _backward(dims: Dims, plan: Plan) -> dict[str, float]:
    attention = 2 * plan.longest * dims.queries * dims.layers * _tokens(plan)
    return {
        "products": _products(dims, plan),
        "attention": _BACKWARD_OF_ATTENTION
        * attention
        / _at_length(plan.longest, *_ATTENTION_BACKWARD),
        "elements": (1 - _FORWARD) * _elements(dims, plan),
        "dequantization": _dequantization(dims),
        "launches": (1 - _FORWARD) * _launches(dims, plan),
    }


def _at_length(length: int, most: float, half: int) -> float:
    return most * length / (length + half)


def _tokens(plan: Plan) -> int:
    return plan.micro_batch * plan.longest


def _products(dims: Dims, plan: Plan) -> float:
    return 2 * dims.layers * dims.linear_weights * _tokens(plan) / _rate(dims)


def _rate(dims: Dims) -> float:
    return _FP8_PRODUCTS if dims.fp8 else _PRODUCTS


def _again(dims: Dims, plan: Plan) -> float:
    whole = 4 * dims.layers * dims.hidden * dims.intermediate * _tokens(plan) / _rate(dims)
    return whole * (1 - plan.kept / (dims.layers * plan.pieces))


def _light(dims: Dims, plan: Plan) -> float:
    """Residual, queries, keys and values once more, in the backward pass."""
    weights = dims.hidden * (dims.qkv + dims.queries)
    copied = (dims.hidden + dims.queries + dims.keys) / 2  # and rotated: half of a norm's work
    token = 2 * weights / _rate(dims) + copied / _ELEMENTS
    if dims.fp8:
        token += (dims.hidden + dims.queries) / _ROUNDED
    ahead = dims.layers * weights / _EXPANDED if dims.fp8 else 0  # laid out for both directions
    launches = _LIGHT_LAUNCHES * _CELL * dims.layers * plan.pieces
    return dims.layers * _tokens(plan) * token + ahead + launches


def _head(dims: Dims, plan: Plan) -> float:
    """Two products, or three where it waits on the host, whose tiles come twice."""
    once = 2 * dims.vocabulary * dims.hidden * _tokens(plan) / _PRODUCTS
    if not plan.host_head:
        return 2 * once
    copied = 2 * dims.vocabulary * dims.hidden / _BUS
    return max(once, copied) + max(2 * once, copied)


def _elements(dims: Dims, plan: Plan) -> float:
    width = 3 * dims.intermediate + 6 * dims.hidden + 2 * dims.qkv
    rounded = width + 2 * dims.hidden if dims.fp8 else 0  # inputs and gradients of all linears
    return dims.layers * (width / _ELEMENTS + rounded / _ROUNDED) * _tokens(plan)


def _dequantization(dims: Dims) -> float:
    return dims.layers * dims.linear_weights * (0.52 + 2) / _EXPANDED


def _launches(dims: Dims, plan: Plan) -> float:
    tiles = math.ceil(plan.piece_tokens / plan.mlp_tokens)
    return dims.layers * plan.pieces * (_CELL + _TILE * tiles)
