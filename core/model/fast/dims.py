"""The numbers of a model that the fused path's memory and time depend on."""

from __future__ import annotations

from dataclasses import dataclass

PAD = 32
"""Columns for the adapter come in multiples of this, to keep the products' memory aligned."""
WIDEST_RANK = 32
"""Adapters of a higher rank go through cuBLAS in part: a kernel's sums of them would no longer fit
into registers."""
_FP8_COLUMNS = 16
"""Rows of matrices in FP8 have a multiple of so many bytes."""


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
    nested: bool = True
    """The scales of the NF4 weights are quantized themselves."""
    given_workspace: bool = False
    """cuBLAS has memory to work in, whether or not this model is in need of it."""

    @property
    def workspace(self) -> bool:
        """Whether cuBLAS has memory to work in: to be deterministic, or for thin products."""
        return self.given_workspace or self.sums > 1 or self.rank > WIDEST_RANK

    @property
    def weight_bytes(self) -> float:
        """Of a weight in NF4 with its share of the scales of its block of 64."""
        scale = 1 + 4 / 256 if self.nested else 4
        return 0.5 + scale / 64

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
        return -(-self.rank * linears // PAD) * PAD

    def slot(self, *, light: bool) -> int:
        """Elements a token and layer that wait for the backward pass."""
        tails = self.pad(3) + self.pad(2) + 2 * self.pad(1)
        least = self.hidden + self.queries + tails + 2 * self.heads
        return least if light else least + self.hidden + self.qkv

    @property
    def qkv(self) -> int:
        """Elements a token of queries, keys and values."""
        return self.queries + 2 * self.keys

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


def fp8_tail(ranks: int) -> int:
    """Columns that adapters of so many rows of A take beside a matrix in FP8."""
    return -(-3 * ranks // _FP8_COLUMNS) * _FP8_COLUMNS
