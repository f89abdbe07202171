"""How much memory the fused path takes, and what it does with more: pure numbers, no torch.

A pass is cut into pieces, of which one goes through a layer at a time: small pieces take little
memory, a long pass dequantizes each weight seldom. More memory is spent on gate and up, which are
then not computed twice, or on longer pieces, whichever saves more time (``cost``). None of it
changes a result beyond rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.model.fast import cost

GIB = 1 << 30
CONTEXT_BYTES = 1050 << 20
"""Device memory outside of torch's allocator: CUDA, its libraries and kernels (H100, CUDA 13: 0.96
to 1.15 GiB by NVML)."""
_LOOSE, _LOOSE_RECORDED = 120 << 20, 350 << 20
"""What the allocator holds beyond the parts, which is more where launches are recorded: they have
memory of their own, which loss and optimizer cannot use meanwhile (0.11 and up to 0.28 GiB)."""
LOSS_ROWS = 1024
TILE_TOKENS = 4096
"""Tokens that go through an MLP together, where nothing else is planned."""
HEAD_TILE = 8192
"""Rows of an output head in RAM that are on the device together: a copy of a millisecond."""
PASS_TOKENS = 32768
"""No pass is made longer than this by putting micro-batches together."""

_PAD = 32
_FP8_COLUMNS = 16
"""Rows of matrices in FP8 have a multiple of so many bytes."""
_RING = 2
_TILES = (16384, 8192, 4096, 2048, 1024, 512)
_WORKSPACE = 64 << 20
"""What torch gives cuBLAS and cuBLASLt to work in (H100: 32 MiB each)."""
_PAIRS = 1 << 19
"""Tokens times heads of a group: attention's kernels give a multiprocessor some 30 blocks then."""


@dataclass(frozen=True)
class Dims:
    """The numbers of a model that memory depends on.

    All seven linears count, whichever are targets: one without an adapter keeps its room of zeros
    among its group's, in the adapter (and so in gradients and optimizer) as in buffers.
    """

    layers: int
    hidden: int
    intermediate: int
    queries: int
    """Query heads times their width."""
    keys: int
    vocabulary: int
    tied: bool
    rank: int
    heads: int = 0
    sums: int = 1
    """Parts of the queries' gradient that attention adds up: more where that is deterministic."""
    head_norms: bool = False
    """Queries and keys are normalized, as in Qwen3."""
    fp8: bool = False
    """Products are in FP8: weights are dequantized for either direction, a byte each."""

    @property
    def linear_weights(self) -> int:
        """Weights of one layer's seven linears."""
        h, f, q, k = self.hidden, self.intermediate, self.queries, self.keys
        return h * (q + 2 * k) + q * h + 3 * h * f

    @property
    def adapter_weights(self) -> int:
        """Adapter numbers of all layers, as ``adapters.Adapters`` allocates them."""
        h, f, q, k = self.hidden, self.intermediate, self.queries, self.keys
        inputs_and_outputs = (h + q) + 2 * (h + k) + (q + h) + 2 * (h + f) + (f + h)
        return self.layers * self.rank * inputs_and_outputs

    def pad(self, linears: int) -> int:
        return -(-self.rank * linears // _PAD) * _PAD

    @property
    def slot(self) -> int:
        """Elements a token and layer that wait for the backward pass."""
        tails = self.pad(3) + self.pad(2) + 2 * self.pad(1)
        return 2 * self.hidden + self.queries * 2 + 2 * self.keys + tails + 2 * self.heads

    @property
    def gate_up(self) -> int:
        """Elements a token of gate and up, with the adapter's columns."""
        return 2 * self.intermediate + self.pad(2)

    @property
    def scratch(self) -> int:
        """Elements of a layer's dequantized weights, with the adapters around them."""
        h, f, q, k = self.hidden, self.intermediate, self.queries, self.keys
        if self.fp8:
            groups = ((3, h, q + 2 * k), (1, q, h), (2, h, 2 * f), (1, f, h))
            return sum(self._fp8_room(linears, *shape) for linears, *shape in groups)
        two, one, three = self.pad(2), self.pad(1), self.pad(3)
        attention = (q + 2 * k + three) * (h + three) + (h + one) * (q + one)
        return attention + (2 * f + two) * (h + two) + (h + one) * (f + one)

    def _fp8_room(self, linears: int, columns: int, rows: int) -> int:
        ranks, tail = linears * self.rank, fp8_tail(linears * self.rank)
        both = rows * (columns + tail) + columns * (rows + tail)
        return both // 2 + ranks * (rows + columns)


def head_groups(tokens: int, heads: int, key_heads: int) -> int:
    """In how many groups of heads attention goes backward over so many tokens.

    It works in several times the memory of its inputs, and has no use for all heads at once where
    a few of them keep the device busy.
    """
    fitting = (n for n in _divisors(key_heads, key_heads) if tokens * heads > n * _PAIRS)
    return max(fitting, default=1)


def fp8_tail(ranks: int) -> int:
    """Columns that adapters of so many rows of A take beside a matrix in FP8."""
    return -(-3 * ranks // _FP8_COLUMNS) * _FP8_COLUMNS


@dataclass(frozen=True)
class Plan:
    """Choices that change speed and memory, never the result beyond rounding.

    A cell is one layer's work on one piece of a pass.
    """

    kept: int
    """Last cells whose gate and up stay, instead of being computed again."""
    held: int = 0
    """Cells that stay on the device; what the others need again waits on the host."""
    mlp_tokens: int = TILE_TOKENS
    """Tokens that go through an MLP together."""
    loss_rows: int = LOSS_ROWS
    """Rows whose logits exist at one time."""
    host_embedding: bool = False
    """Rows of the embedding are read from the host's memory."""
    host_head: bool = False
    """The output head waits in the host's memory, and comes in tiles twice a pass."""
    micro_batch: int = 1
    """Sequences in one pass; the accumulation follows, the effective batch stays."""
    piece: int = 1
    """Sequences, of the longest there may be, in a piece."""
    longest: int = 0
    """Tokens of the longest sequence."""

    @property
    def on_host(self) -> frozenset[str]:
        """The tables that wait in the host's memory: embedding, head."""
        wishes = {"embedding": self.host_embedding, "head": self.host_head}
        return frozenset(name for name, wish in wishes.items() if wish)

    @property
    def pieces(self) -> int:
        """Pieces of a full pass."""
        return self.micro_batch // self.piece

    @property
    def piece_tokens(self) -> int:
        """Tokens of a full piece."""
        return self.piece * self.longest

    @property
    def told(self) -> str:
        """The plan in a few words, for the log."""
        cut = f" in {self.pieces} pieces" if self.pieces > 1 else ""
        cells = _counted(self.kept, "cell")
        kept = f"gate and up of {cells} kept" if self.kept else "gate and up computed twice"
        head = ", the output head waits in RAM" if self.host_head else ""
        return f"{_counted(self.micro_batch, 'sequence')} a pass{cut}, {kept}{head}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


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
    began: Plan | None = None,
    exact: bool = False,
) -> Plan | None:
    """The fastest plan within the limits of device and host; the smallest where none fits.

    None where even the smallest takes more of the host than it may. ``length`` is the longest
    sequence in tokens, ``state_bytes`` what the optimizer holds for each adapter number. A run
    that is resumed gives the plan that it ``began`` with and keeps its passes; ``exact``: also all
    else that changes how numbers are rounded.
    """
    best: Plan | None = None
    best_rank = (2, 0.0)
    for host_head in [began.host_head] if began and exact else [False, True]:
        for plan in _shapes(length, effective_batch, began, exact):
            for held in _holdings(dims, _placed(dims, plan, host_head), host_limit_bytes):
                tried = _kept_with(
                    dims, _placed(dims, replace(plan, held=held), host_head), limit_bytes,
                    state_bytes,
                )  # fmt: skip
                left = limit_bytes - peak_bytes(dims, tried, state_bytes)
                rank = (0, cost.token_us(dims, tried)) if left >= 0 else (1, -float(left))
                if host_bytes(dims, tried) <= host_limit_bytes and rank < best_rank:
                    best, best_rank = tried, rank
        if best_rank[0] == 0:
            break  # the head leaves only where nothing else fits
    return best


def _placed(dims: Dims, plan: Plan, host_head: bool) -> Plan:
    """The plan with its tables where they belong; a tied one is both embedding and head."""
    return replace(plan, host_head=host_head, host_embedding=host_head or not dims.tied)


def _kept_with(dims: Dims, bare: Plan, limit_bytes: int, state_bytes: float) -> Plan:
    """The plan with gate and up of as many cells kept as there is room for."""
    left = limit_bytes - peak_bytes(dims, bare, state_bytes)
    fit = int(left / (2 * bare.piece_tokens * dims.gate_up))
    return replace(bare, kept=max(0, min(dims.layers * bare.pieces, fit)))


def _shapes(length: int, effective_batch: int, began: Plan | None, exact: bool) -> Iterator[Plan]:
    """All ways to cut a step into passes, pieces and tiles."""
    most = max(1, PASS_TOKENS // length)
    for micro in [began.micro_batch] if began else _divisors(effective_batch, most):
        for part in [began.piece] if began else _divisors(micro, micro):
            whole = min((tile for tile in _TILES if tile >= part * length), default=_TILES[0])
            for tile in [began.mlp_tokens] if began and exact else _TILES:
                if tile <= whole or (began and exact):
                    yield Plan(0, 0, tile, micro_batch=micro, piece=part, longest=length)


def _holdings(dims: Dims, plan: Plan, host_limit_bytes: int) -> Iterator[int]:
    """How many cells to hold: none, as many as keep the copies from waiting, all.

    At least those that the host has no room for.
    """
    cells = dims.layers * plan.pieces
    over = host_bytes(dims, replace(plan, held=0)) - host_limit_bytes
    least = min(cells, max(0, -(-over // (plan.piece_tokens * dims.slot * 2))))
    yield from sorted({least, max(least, cost.cells_worth_holding(dims, plan)), cells})


def parts(dims: Dims, plan: Plan, state_bytes: float = 2) -> dict[str, int]:
    """Device memory by what it is for, at the peak of a step."""
    tokens, h = plan.piece_tokens, dims.hidden
    per_weight = 0.5 + 1 / 64 + 4 / 64 / 256
    weights = dims.layers * dims.linear_weights * per_weight
    table = dims.vocabulary * h * 2
    tables = 0 if plan.host_head else 1 if dims.tied or plan.host_embedding else 2
    ring = _RING if dims.layers * plan.pieces - plan.held > _RING else 0
    running = plan.micro_batch * plan.longest * (h + dims.pad(1))
    return {
        "weights": int(weights),
        "embedding and head": tables * table,
        "adapter": dims.adapter_weights * 4,
        "gradients": dims.adapter_weights * 4,
        "optimizer": int(dims.adapter_weights * state_bytes),
        "dequantized weights, logits": 2 * max(dims.scratch, _loss_room(dims, plan)),
        "workspace of products": _WORKSPACE,
        "activations": 2 * (running + tokens * (h + dims.pad(3)) + _in_turn(dims, plan)),
        "kept layers": 2
        * tokens
        * (
            plan.kept * dims.gate_up
            + (min(plan.held, dims.layers * plan.pieces) + ring) * dims.slot
        ),
    }


def _in_turn(dims: Dims, plan: Plan) -> int:
    """Elements of the memory that MLP and attention have one after the other."""
    tile = min(plan.piece_tokens, plan.mlp_tokens)
    mlp = dims.intermediate + dims.pad(1)
    mlp += dims.gate_up if plan.kept < dims.layers * plan.pieces else 0
    mlp += 2 * dims.rank * -(-2 * dims.intermediate // 256)  # sums of thin products, fp32
    if dims.fp8:  # gate's and up's gradient rounded, or what goes into down_proj and its product
        half = fp8_tail(2 * dims.rank) // 2
        mlp += half + max(dims.intermediate, dims.intermediate // 2 + dims.hidden)
    return max(tile * mlp, _attention_room(dims, plan.piece_tokens))


def _attention_room(dims: Dims, tokens: int) -> int:
    """Elements that attention's backward pass takes, of so many tokens or of fewer.

    Fewer tokens may take more: they are cut into fewer groups.
    """
    key_heads = dims.heads * dims.keys // dims.queries
    lasts = (n * _PAIRS // dims.heads for n in _divisors(key_heads, key_heads))
    lengths = [tokens, *(last for last in lasts if last < tokens)]
    return max(length * _attention(dims, length) for length in lengths)


def _attention(dims: Dims, tokens: int) -> int:
    """Elements a token that attention's backward pass takes where it has so many tokens."""
    q, k = dims.queries, dims.keys
    groups = head_groups(tokens, dims.heads, dims.heads * k // q)
    around = q + (q + k if dims.head_norms else 0)  # gradient of its output, normed heads
    # The gradients, and those of keys and values for each query head before they are added up.
    once = q + 2 * k + (2 * q if k < q else 0)
    sums = 2 * q * dims.sums  # attention sums the queries' gradient in fp32
    if groups == 1:
        return around + once + sums
    # What groups return is gathered. Where sums are spread over multiprocessors, fewer heads at a
    # time have more of them.
    spread = groups if dims.sums > 1 else 1
    return around + (q + 2 * k + dims.pad(3)) + -(-(once + spread * sums) // groups)


def _loss_room(dims: Dims, plan: Plan) -> int:
    """Elements that the loss works in, where weights are dequantized at other times."""
    if not plan.host_head:
        return plan.loss_rows * dims.vocabulary
    # Logits twice as wide again in fp32, and two tiles of the head.
    tile = min(HEAD_TILE, dims.vocabulary)
    rows = plan.micro_batch * plan.longest
    return 3 * (rows * dims.hidden + plan.loss_rows * tile) + 2 * tile * dims.hidden


def peak_bytes(dims: Dims, plan: Plan, state_bytes: float = 2) -> int:
    """Device memory of the process at the peak of a step, CUDA's own included."""
    return around_bytes(plan) + sum(parts(dims, plan, state_bytes).values())


def around_bytes(plan: Plan) -> int:
    """Device memory of the process beyond the ``parts``."""
    return CONTEXT_BYTES + (_LOOSE if plan.host_head else _LOOSE_RECORDED)


def host_bytes(dims: Dims, plan: Plan) -> int:
    """Memory of the host that is pinned for the GPU."""
    sent = max(0, dims.layers * plan.pieces - plan.held - _RING)
    tables = 1 if dims.tied and plan.host_head else plan.host_embedding + plan.host_head
    table = dims.vocabulary * dims.hidden * 2
    return sent * plan.piece_tokens * dims.slot * 2 + tables * table


def _divisors(number: int, most: int) -> list[int]:
    """The divisors of a number that are not above ``most``, in order."""
    small = [n for n in range(1, min(most, math.isqrt(number)) + 1) if number % n == 0]
    large = [number // n for n in reversed(small) if n * n != number]
    return [*small, *(n for n in large if n <= most)]
