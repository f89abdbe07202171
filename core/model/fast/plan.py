"""What the fused path does with memory: pure numbers, no torch.

A pass is cut into pieces, of which one goes through a layer at a time: small pieces take little
memory, a long pass dequantizes each weight seldom. More memory is spent on gate and up, which are
then not computed twice, or on longer pieces, whichever saves more time (``cost``). None of it
changes a result beyond rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from core.model.fast import cost
from core.model.fast.dims import Dims
from core.model.fast.footprint import divisors, host_bytes, peak_bytes

LOSS_ROWS = 1024
TILE_TOKENS = 4096
"""Tokens that go through an MLP together, where nothing else is planned."""
PASS_TOKENS = 32768
"""No pass is made longer than this by putting micro-batches together."""
_TILES = (16384, 8192, 4096, 2048, 1024, 512)


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
    for micro in [began.micro_batch] if began else divisors(effective_batch, most):
        for part in [began.piece] if began else divisors(micro, micro):
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
