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
    light: bool = False
    """Cells keep their input and attention's output alone: residual, queries, keys and values are
    computed again."""
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
        kept = f"gate and up of {_counted(self.kept, 'cell')} kept"
        if self.light:
            kept = f"{kept}, all else" if self.kept else "all"
            kept += " but attention computed twice"
        elif not self.kept:
            kept = "gate and up computed twice"
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
        for shape in _shapes(length, effective_batch, began, exact):
            placed = _placed(dims, shape, host_head)
            for held in _holdings(dims, placed, host_limit_bytes):
                tried, left = _kept_with(dims, replace(placed, held=held), limit_bytes, state_bytes)
                times = cost.pass_ms(dims, tried) if left >= 0 else {}
                each = sum(times.values()) / tried.micro_batch
                rank = (0, each) if times else (1, -float(left))
                if host_bytes(dims, tried) <= host_limit_bytes and rank < best_rank:
                    best, best_rank = tried, rank
                if not times.get("waiting for copies"):
                    break  # to hold more takes memory and saves no time
        if best_rank[0] == 0:
            break  # the head leaves only where nothing else fits
    return best


def _placed(dims: Dims, plan: Plan, host_head: bool) -> Plan:
    """The plan with its tables where they belong; a tied one is both embedding and head."""
    return replace(plan, host_head=host_head, host_embedding=host_head or not dims.tied)


def _kept_with(dims: Dims, bare: Plan, limit_bytes: int, state_bytes: float) -> tuple[Plan, int]:
    """The plan with gate and up of as many cells kept as there is room for; bytes that are left."""
    left = limit_bytes - peak_bytes(dims, bare, state_bytes)
    fit = min(dims.layers * bare.pieces, left // (2 * bare.piece_tokens * dims.gate_up))
    if fit <= 0:
        return bare, left
    tried = replace(bare, kept=fit)
    return tried, limit_bytes - peak_bytes(dims, tried, state_bytes)


def _shapes(length: int, effective_batch: int, began: Plan | None, exact: bool) -> Iterator[Plan]:
    """All ways to cut a step into passes, pieces and tiles, with cells of either kind."""
    most = max(1, PASS_TOKENS // length)
    for micro in [began.micro_batch] if began else divisors(effective_batch, most):
        for part in [began.piece] if began else divisors(micro, micro):
            whole = min((tile for tile in _TILES if tile >= part * length), default=_TILES[0])
            for tile in [began.mlp_tokens] if began and exact else _TILES:
                if tile <= whole or (began and exact):
                    for light in [began.light] if began and exact else [False, True]:
                        yield Plan(0, 0, tile, light=light, micro_batch=micro, piece=part,
                                   longest=length)  # fmt: skip


def _holdings(dims: Dims, plan: Plan, host_limit_bytes: int) -> Iterator[int]:
    """How many cells to hold: none, as many as keep the copies from waiting, all.

    At least those that the host has no room for. ``plan`` holds none.
    """
    cells = dims.layers * plan.pieces
    over = host_bytes(dims, plan) - host_limit_bytes
    least = min(cells, max(0, -(-over // (plan.piece_tokens * dims.slot(light=plan.light) * 2))))
    yield least
    if least < (worth := cost.cells_worth_holding(dims, plan)):
        yield worth
    yield cells
