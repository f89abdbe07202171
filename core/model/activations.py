"""What a training path keeps of the forward pass, and holds at its busiest moment, in bytes.

Formulas, compared with the tensors of real passes (``tests/core/model/test_activations.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.model.shapes import Linear

LOSS_TILE_LOGITS = 1 << 26
"""Logits that the loss computes at a time: 256 MiB in fp32, of which it holds three copies."""
LOSS_ROWS_LEAST = 64
_BYTES_A_LOGIT = 12
"""Backward pass of one tile: log-probabilities, their gradient and its product, in fp32."""


@dataclass(frozen=True)
class Dims:
    """The sizes that formulas need, all known."""

    hidden: int
    intermediate: int
    layers: int
    vocab: int
    heads: int
    queries: int
    keys: int
    """Width of the keys, and of the values."""
    head_norms: bool
    """Queries and keys are normalized, as in Qwen3."""
    norms: int = 2
    """Of a layer: before attention and MLP, with Gemma behind them too."""
    routes: int = 0
    """Experts that a token goes through; 0 in a dense model."""
    mlp: int = 0
    """Inner width that a token goes through, of all its experts; 0: ``intermediate``."""
    capped_scores: bool = False
    """Attention's scores go through a tanh, as in Gemma 2."""


@dataclass(frozen=True)
class Work:
    """What of the settings decides about activations."""

    batch: int
    length: int
    compute_bytes: int
    dropout: bool
    checkpointing: bool
    packing: bool
    eager: bool
    groups: frozenset[str]
    """Inputs that an adapter keeps: attention, output, mlp, down."""
    dropped: Mapping[str, int]
    """Adapted layers a group, each with a dropout of its own."""
    dora: tuple[Linear, ...] = ()
    """Adapted layers of one decoder layer, where their magnitudes learn apart."""
    joined: bool = False
    """Queries, keys and values come from one layer, as in Phi 3."""
    whole_logits: int = 0
    """As in ``ModelShape``."""

    @property
    def tokens(self) -> int:
        return self.batch * self.length


@dataclass(frozen=True)
class Activations:
    """Bytes that the backward pass needs: kept of all layers, and live in one of them."""

    kept: int
    layer: int


def activations(path: str, dims: Dims, work: Work) -> Activations:
    """What a training path keeps of the forward pass, and holds at its busiest layer."""
    return _ACTIVATIONS[path](dims, work)


def _peft(dims: Dims, work: Work) -> Activations:
    """Separate modules under autograd: every step of a layer keeps its own tensors.

    While a layer is recomputed, all of its tensors are there; the most live when the gradient of
    the MLP's inner width comes once from the base and once from the adapter.
    """
    hidden, wide, width = dims.hidden, dims.mlp or dims.intermediate, work.compute_bytes
    keys = dims.queries if work.packing else dims.keys  # a mask makes attention repeat its keys
    elements = 2 * dims.queries + 2 * keys  # queries, keys, values and output of attention
    elements += hidden * (("attention" in work.groups) + ("mlp" in work.groups))
    # In one product with the values, queries and keys stay there before they are rotated, too.
    elements += work.joined * (dims.queries + dims.keys)
    elements += dims.routes * hidden  # each expert's own copy of its tokens
    elements += (3 + ("down" in work.groups)) * wide
    kept = work.tokens * (
        width * elements + 4 * dims.norms * hidden
    )  # norms keep their input in fp32
    if dims.head_norms:
        kept += work.tokens * 4 * (dims.queries + dims.keys)
    if work.dropout:
        kept += work.tokens * (width + 1) * _dropped(dims, work)
    scores = work.batch * work.length**2
    if work.eager:
        # The softmax in fp32, and once more in 16 bit.
        kept += scores * dims.heads * (4 + (width if width < 4 else 1))
        kept += scores * dims.heads * width * dims.capped_scores
    elif work.packing:
        kept += scores * (1 + width)
    kept += _dora_kept(work)
    passing = max(2 * work.tokens * width * wide, _dora_passing(work))
    inputs = work.tokens * width * hidden * dims.layers
    if work.checkpointing:
        return Activations(kept=inputs, layer=kept + passing)
    return Activations(kept=dims.layers * kept, layer=passing)


def _dora_kept(work: Work) -> int:
    """What DoRA keeps of a layer: outputs of base and adapter, for the magnitude's gradient.

    With dropout the base is multiplied once more, by a dequantized weight that stays.
    """
    outputs = sum(one.outputs for one in work.dora)
    weights = sum(one.outputs * one.inputs for one in work.dora) if work.dropout else 0
    return work.compute_bytes * (2 * work.tokens * outputs + weights)


def _dora_passing(work: Work) -> int:
    """PEFT makes the adapter's whole product from a unit matrix, for the norm of the sum."""
    if work.compute_bytes == 4:
        sizes = [4 * one.inputs**2 + 16 * one.inputs * one.outputs for one in work.dora]
    else:
        # The unit matrix is made in fp32, beside its copy in 16 bit.
        sizes = [
            max(6 * one.inputs**2 + 2 * one.inputs * one.outputs,
                2 * one.inputs**2 + 8 * one.inputs * one.outputs)
            for one in work.dora
        ]  # fmt: skip
    return max(sizes, default=0)


_ACTIVATIONS: dict[str, Callable[[Dims, Work], Activations]] = {"PEFT": _peft}


def loss_bytes(dims: Dims, work: Work) -> int:
    """The tile of logits in its backward pass, with the hidden states it is made from."""
    rows = min(work.tokens, max(LOSS_ROWS_LEAST, LOSS_TILE_LOGITS // dims.vocab))
    # The last norm's output, the rows with a label, and the gradient of both.
    states = 3 * work.tokens * dims.hidden * work.compute_bytes
    tile = rows * dims.vocab * _BYTES_A_LOGIT
    if work.whole_logits:
        # Those with a label beside what is kept, then the gradients of both.
        whole = work.tokens * dims.vocab * work.compute_bytes
        tile = max(work.whole_logits * whole + tile, (work.whole_logits + 2) * whole)
    return tile + states


def _dropped(dims: Dims, work: Work) -> int:
    """Elements a token that dropout copies: one for each adapted layer's input."""
    inputs = {
        "attention": dims.hidden, "output": dims.queries,
        "mlp": dims.hidden, "down": dims.intermediate,
    }  # fmt: skip
    return sum(inputs[group] * count for group, count in work.dropped.items())
