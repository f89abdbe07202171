"""How much memory the fused path takes, and what it does with more: pure numbers, no torch.

Less memory than a pass needs at once is found by smaller passes; more is spent on layers that are
kept whole, so that nothing of them is computed twice. Neither changes a result beyond rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

GIB = 1 << 30
CONTEXT_BYTES = 1200 << 20
"""Device memory outside of torch's allocated: CUDA, its libraries, kernels and graphs, and what
the allocator holds back (H100, CUDA 13: 1.1 to 1.5 GiB by NVML)."""
LOSS_ROWS = 1024
TILE_TOKENS = 4096
"""Tokens of one pass through an MLP: fewer leave its products slower, more take more room."""
PASS_TOKENS = 16384
"""No pass is made longer than this by putting micro-batches together."""

_PAD = 32
_RING = 2
_EXPAND_TOKENS = 230.0
"""What dequantizing all weights once costs, in tokens of forward pass (H100: 9 ms, 40 us each)."""
_TILES = (TILE_TOKENS, TILE_TOKENS // 2)
_FORWARD, _BACKWARD, _AGAIN, _SMALL_TILE = 1.0, 1.35, 0.45, 0.03
"""Time of a token's forward pass, backward pass, of gate and up once more, of small tiles."""


@dataclass(frozen=True)
class Dims:
    """The numbers of a model that memory depends on."""

    layers: int
    hidden: int
    intermediate: int
    queries: int
    """Query heads times their width."""
    keys: int
    vocabulary: int
    tied: bool
    rank: int

    @classmethod
    def of(cls, config: Any, rank: int) -> Dims:
        """From a transformers configuration."""
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(
            config.num_hidden_layers, config.hidden_size, config.intermediate_size, heads * width,
            config.num_key_value_heads * width, config.vocab_size,
            bool(config.tie_word_embeddings), rank,
        )  # fmt: skip

    @property
    def linear_weights(self) -> int:
        """Weights of one layer's seven linears."""
        h, f, q, k = self.hidden, self.intermediate, self.queries, self.keys
        return h * (q + 2 * k) + q * h + 3 * h * f

    @property
    def adapter_weights(self) -> int:
        """Adapter numbers of all layers."""
        h, f, q, k = self.hidden, self.intermediate, self.queries, self.keys
        inputs_and_outputs = (h + q) + 2 * (h + k) + (q + h) + 2 * (h + f) + (f + h)
        return self.layers * self.rank * inputs_and_outputs

    def pad(self, linears: int) -> int:
        return -(-self.rank * linears // _PAD) * _PAD

    @property
    def slot(self) -> int:
        """Elements a token and layer that wait for the backward pass."""
        return 2 * self.hidden + self.queries * 2 + 2 * self.keys + self.pad(1)

    @property
    def gate_up(self) -> int:
        """Elements a token of gate and up, with the adapter's columns."""
        return 2 * self.intermediate + self.pad(2)

    @property
    def scratch(self) -> tuple[int, int]:
        """Elements of dequantized weights: gate and up, and the largest of the others."""
        h, f, q, k = self.hidden, self.intermediate, self.queries, self.keys
        two, one, three = self.pad(2), self.pad(1), self.pad(3)
        others = ((q + 2 * k + three) * (h + three), (h + one) * (q + one), (h + one) * (f + one))
        return (2 * f + two) * (h + two), max(others)


@dataclass(frozen=True)
class Plan:
    """Choices that change speed and memory, never the result beyond rounding."""

    kept_layers: int
    """Last layers that stay on the device whole; the others wait on the host."""
    mlp_tokens: int = TILE_TOKENS
    """Tokens that go through an MLP together."""
    loss_rows: int = LOSS_ROWS
    """Rows whose logits exist at one time."""
    host_embedding: bool = False
    """Rows of the embedding are read from the host's memory."""
    micro_batch: int = 1
    """Sequences in one pass; the accumulation follows, the effective batch stays."""
    longest: int = 0
    """Tokens of the longest sequence."""

    @property
    def tokens(self) -> int:
        """Tokens of a full pass."""
        return self.micro_batch * self.longest

    @property
    def told(self) -> str:
        """The plan in a few words, for the log."""
        kept = f"{self.kept_layers} layers kept whole" if self.kept_layers else "no layer kept"
        return f"{self.micro_batch} sequences a pass, {kept}"


def state_bytes(optimizer: str) -> int:
    """What an optimizer holds for each adapter number: two 8-bit or two fp32 moments."""
    return 2 if "8bit" in optimizer else 8


def choose(
    dims: Dims,
    *,
    length: int,
    effective_batch: int,
    limit_bytes: int,
    host_limit_bytes: int,
    state_bytes: float = 2,
    micro_batch: int = 0,
) -> Plan | None:
    """The fastest plan within the limits of device and host; the smallest where none fits.

    None where even the smallest takes more of the host than it may. ``length`` is the longest
    sequence in tokens, ``state_bytes`` what the optimizer holds for each adapter number. A run
    that is resumed gives the ``micro_batch`` that it began with.
    """
    best: Plan | None = None
    best_rank = (2, 0.0)
    for micro in [micro_batch] if micro_batch else _divisors(effective_batch):
        tokens = micro * length
        if best is not None and tokens > PASS_TOKENS:
            break
        for tile in _TILES:
            bare = Plan(0, tile, host_embedding=not dims.tied, micro_batch=micro, longest=length)
            left = limit_bytes - peak_bytes(dims, bare, state_bytes)
            kept = max(0, min(dims.layers, int(left / _whole_layer(dims, tokens))))
            plan = replace(bare, kept_layers=kept)
            rank = (0, _time(dims, plan)) if left >= 0 else (1, -float(left))
            if host_bytes(dims, plan) <= host_limit_bytes and rank < best_rank:
                best, best_rank = plan, rank
    return best


def parts(dims: Dims, plan: Plan, state_bytes: float = 2) -> dict[str, int]:
    """Device memory by what it is for, at the peak of a step."""
    tokens = plan.tokens
    tile = min(tokens, plan.mlp_tokens)
    per_weight = 0.5 + 1 / 64 + 4 / 64 / 256
    weights = dims.layers * dims.linear_weights * per_weight
    table = dims.vocabulary * dims.hidden * 2
    head = table if dims.tied or plan.host_embedding else 2 * table
    ring = 0 if plan.kept_layers >= dims.layers - _RING else _RING
    pads = dims.pad(3) + dims.pad(2) + dims.pad(1)
    shared = (
        5 * dims.hidden  # norm, running gradient, last output, and rows with a label twice
        + 2 * dims.queries
        + (dims.queries + 2 * dims.keys)  # attention's gradients, ours and its
        + 2 * dims.queries  # cuDNN sums the queries' gradient in fp32
    )
    return {
        "weights": int(weights),
        "embedding and head": head,
        "adapter": int(dims.adapter_weights * (4 + 2)),
        "gradients": dims.adapter_weights * 4,
        "optimizer": int(dims.adapter_weights * state_bytes),
        "dequantized weights, logits": 2
        * (max(dims.scratch[0], plan.loss_rows * dims.vocabulary) + dims.scratch[1]),
        "activations": 2 * tokens * (shared + dims.layers * pads)
        + 2 * tile * (dims.gate_up + dims.intermediate + dims.pad(1)),
        "kept layers": plan.kept_layers * _whole_layer(dims, tokens)
        + 2 * ring * tokens * dims.slot,
    }


def peak_bytes(dims: Dims, plan: Plan, state_bytes: float = 2) -> int:
    """Device memory of the process at the peak of a step, CUDA's own included."""
    return CONTEXT_BYTES + sum(parts(dims, plan, state_bytes).values())


def host_bytes(dims: Dims, plan: Plan) -> int:
    """Memory of the host that is pinned for the GPU."""
    sent = max(0, dims.layers - plan.kept_layers - _RING)
    table = dims.vocabulary * dims.hidden * 2 if plan.host_embedding else 0
    return sent * plan.tokens * dims.slot * 2 + table


def _whole_layer(dims: Dims, tokens: int) -> int:
    return 2 * tokens * (dims.slot + dims.gate_up)


def _time(dims: Dims, plan: Plan) -> float:
    """Relative time of a token."""
    again = _AGAIN * (1 - plan.kept_layers / dims.layers)
    tiles = _SMALL_TILE if plan.mlp_tokens < min(TILE_TOKENS, plan.tokens) else 0
    return _FORWARD + _BACKWARD + again + tiles + 2 * _EXPAND_TOKENS / plan.tokens


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
