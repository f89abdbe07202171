"""One decoder layer of the Llama family, forward and backward by hand.

Kept for the backward pass are the layer's input x, the residual h behind attention, queries, keys
and values, attention's output and its log-sum-exp. Norms, gate and up are computed again; down_proj
never is, for nothing needs its output twice. A light slot has room for input and attention's output
alone: the projections around attention are computed again too, attention itself never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from core.model.fast.attention import Attentions, Documents, groups_of
from core.model.fast.dropout import Mask
from core.model.fast.linear import Group, Wide
from core.model.fast.slot import Part, Slot
from core.model.fast.work import Expanded, Middle, Work

Tensor = torch.Tensor


@dataclass(frozen=True)
class Sizes:
    """What all layers share."""

    hidden: int
    heads: int
    key_heads: int
    head_width: int
    eps: float

    @property
    def queries(self) -> int:
        return self.heads * self.head_width

    @property
    def keys(self) -> int:
        return self.key_heads * self.head_width


@dataclass(frozen=True)
class Batch:
    """One pass: T tokens of whole documents. ``cos`` and ``sin`` are (T, d / 2)."""

    documents: Documents
    cos: Tensor
    sin: Tensor
    mask: Mask | None
    """The adapters' dropout; None without."""


@dataclass(frozen=True)
class Layer:
    """The frozen parts of one layer, and what computes with them."""

    number: int
    sizes: Sizes
    qkv: Group
    output: Group
    gate_up: Group
    down: Group
    first_norm: Tensor
    second_norm: Tensor
    head_norms: tuple[Tensor, Tensor] | None
    """Qwen3's norms of each query and each key head; None elsewhere."""
    attentions: Attentions
    pieces: Any

    @property
    def groups(self) -> tuple[Group, Group, Group, Group]:
        return self.qkv, self.output, self.gate_up, self.down

    # --- forward ---

    def forward(
        self, weights: Expanded, slot: Slot, running: Wide, batch: Batch, work: Work
    ) -> None:
        """``running`` (T, h), the input, becomes the output; ``slot`` keeps what backward needs."""
        self._queries_keys_values(weights, slot, running.main, batch, work)
        slot.finished(Part.QUERIES)
        self._attend(weights, slot, running.main, batch, work)
        self._mlp(weights, slot, running.main, batch, work)
        slot.finished(Part.TAILS)

    def _queries_keys_values(
        self, weights: Expanded, slot: Slot, running: Tensor, batch: Batch, work: Work
    ) -> None:
        normed = work.normed(len(running), self.qkv.pad)
        self.pieces.rms_norm(running, self.first_norm, self.sizes.eps, normed.main, slot.x)
        self.qkv.project(normed, weights.qkv, self._mask(batch, 0), slot.tails.qkv)
        self._multiply_qkv(normed, weights, slot, batch)

    def _multiply_qkv(self, normed: Wide, weights: Expanded, slot: Slot, batch: Batch) -> None:
        """Queries, keys and values of the normed input with its tail."""
        self.qkv.forward(normed, weights.qkv, slot.qkv)
        if self.head_norms is None:
            for part in self._query_and_key(slot.qkv):
                self.pieces.rotate(part, batch.cos, batch.sin, part)

    def _attend(
        self, weights: Expanded, slot: Slot, running: Tensor, batch: Batch, work: Work
    ) -> None:
        q, k, v = self._heads(slot, batch, work)
        attention = self.attentions.best(q, k, batch.documents)
        out, state = attention.forward(q, k, v, batch.documents)
        slot.keep_state(state)
        self.pieces.copy_rows(out.flatten(1), slot.o.main)
        self.output.project(slot.o, weights.output, self._mask(batch, 1))
        self.output.forward(slot.o, weights.output, running, onto=True)

    def _mlp(
        self, weights: Expanded, slot: Slot, running: Tensor, batch: Batch, work: Work
    ) -> None:
        whole = work.normed(len(running), self.gate_up.pad)
        self.pieces.rms_norm(running, self.second_norm, self.sizes.eps, whole.main, slot.h)
        slot.finished(Part.ATTENTION)
        middle = work.middle(len(running), kept=slot.gate_up is not None)
        for tokens in work.tiles(len(running)):
            normed = whole[tokens]
            mask = self._mask(batch, 2, tokens.start)
            self.gate_up.project(normed, weights.gate_up, mask, slot.tails.gate_up[tokens])
            gu, hidden = self._tile(slot, tokens, middle)
            scales = self.gate_up.forward_raw(normed, weights.gate_up, gu.main)
            mask, tail = self._mask(batch, 3, tokens.start), slot.tails.down[tokens]
            a = self.down.a(weights.down)
            self.pieces.swiglu(gu.main, a, hidden.main, hidden.tail, mask, tail, scales)
            self.down.forward(hidden, weights.down, running[tokens], onto=True)

    # --- backward ---

    def backward(
        self, weights: Expanded, slot: Slot, grad: Wide, batch: Batch, work: Work, *, first: bool
    ) -> None:
        """``grad`` (T, h) of the output becomes that of the input; adapters' gradients are added.

        ``first``: nothing before this layer learns, so the gradient of its input is left out.
        """
        if slot.light:
            slot.h.copy_(slot.x)
            self.output.forward(slot.o, weights.output, slot.h, onto=True)
        whole = work.normed(len(slot.h), self.gate_up.pad)
        self.pieces.rms_norm(slot.h, self.second_norm, self.sizes.eps, whole.main)
        middle = work.middle(len(slot.h), kept=slot.gate_up is not None)
        for tokens in work.tiles(len(slot.h)):
            self._mlp_backward(weights, slot, whole[tokens], grad[tokens], tokens, batch, middle)
        del middle  # attention may have its memory
        normed = work.normed(len(slot.x), self.qkv.pad)
        self.pieces.rms_norm(slot.x, self.first_norm, self.sizes.eps, normed.main)
        if slot.light:  # in the residual's place, which is done with
            normed.tail.copy_(slot.tails.qkv)
            self._multiply_qkv(normed, weights, slot, batch)
        dqkv = self._attention_backward(weights, slot, grad, batch, work)
        mask = self._mask(batch, 0)
        self.qkv.backward_adapters(dqkv, weights.qkv, slot.tails.qkv)
        self.qkv.backward_project(dqkv, normed.main, mask)
        if not first:
            scales = self.qkv.backward_input_raw(dqkv, weights.qkv, normed.main, mask)
            self._through_norm(normed.main, scales, slot.x, self.first_norm, grad)

    def _mlp_backward(
        self, weights: Expanded, slot: Slot, normed: Wide, grad: Wide, tokens: slice, batch: Batch,
        middle: Middle,
    ) -> None:  # fmt: skip
        gu, hidden = self._tile(slot, tokens, middle)
        if slot.gate_up is None:
            normed.tail.copy_(slot.tails.gate_up[tokens])
            scales = self.gate_up.forward_raw(normed, weights.gate_up, gu.main)
        else:
            scales = self.gate_up.scales(normed.main, slot.tails.gate_up[tokens])
        mask = self._mask(batch, 3, tokens.start)
        self.down.backward_adapters(grad, weights.down, slot.tails.down[tokens])
        d_scales = self.down.backward_input_raw(grad, weights.down, hidden.main, mask)
        self.pieces.swiglu_backward(
            gu.main, hidden.main, grad.tail, self.down.grad_a, mask, scales, d_scales
        )
        mask = self._mask(batch, 2, tokens.start)
        self.gate_up.backward_adapters(gu, weights.gate_up, slot.tails.gate_up[tokens])
        self.gate_up.backward_project(gu, normed.main, mask)
        scales = self.gate_up.backward_input_raw(gu, weights.gate_up, normed.main, mask)
        self._through_norm(normed.main, scales, slot.h[tokens], self.second_norm, grad)

    def _attention_backward(
        self, weights: Expanded, slot: Slot, grad: Wide, batch: Batch, work: Work
    ) -> Wide:
        """The gradient of queries, keys and values before norm and rotation."""
        mask = self._mask(batch, 1)
        self.output.backward_adapters(grad, weights.output, slot.o.tail)
        self.output.backward_project(grad, slot.o.main, mask)
        d_out = work.attention_gradient(len(slot.x))
        self.output.backward_input(grad, weights.output, d_out, mask)
        q, k, v = self._heads(slot, batch, work)
        out, d_heads = (self._by_head(part) for part in (slot.o.main, d_out))
        attention = self.attentions.best(q, k, batch.documents)
        dqkv: Wide | None = None
        for heads, keys in groups_of(q, k):
            found = attention.backward(
                d_heads[:, heads], q[:, heads], k[:, keys], v[:, keys], out[:, heads],
                attention.state_of(slot.kept_state, heads), batch.documents,
            )  # fmt: skip
            dqkv = dqkv or work.qkv_gradient(len(slot.x))
            self._before_rotation(found, dqkv.main, heads, keys, batch)
            del found  # the next group may have its memory
        assert dqkv is not None
        targets = self._query_and_key(dqkv.main)
        if self.head_norms is not None:
            raw = self._query_and_key(slot.qkv)
            for target, before, weight in zip(targets, raw, self.head_norms, strict=True):
                self.pieces.head_norm_backward(target, before, weight, self.sizes.eps)
        return dqkv

    # --- parts ---

    def _before_rotation(
        self, found: tuple[Tensor, Tensor, Tensor], dqkv: Tensor, heads: slice, keys: slice,
        batch: Batch,
    ) -> None:  # fmt: skip
        """Gather the gradients of a group of heads in ``dqkv`` (T, queries + 2 keys)."""
        dq, dk, dv = found
        targets = self._query_and_key(dqkv)
        for part, target, own in zip((dq, dk), targets, (heads, keys), strict=True):
            self.pieces.rotate(part, batch.cos, batch.sin, target[:, own], back=True)
        self.pieces.copy_rows(dv.flatten(1), self._values(dqkv)[:, keys].flatten(1))

    def _through_norm(
        self, dn: Tensor, scales: Tensor | None, x: Tensor, weight: Tensor, grad: Wide
    ) -> None:
        """Add to the residual's gradient what comes through the norm."""
        eps = self.sizes.eps
        self.pieces.rms_norm_backward(dn, x, weight, eps, grad.main, grad.main, scales)

    def _tile(self, slot: Slot, tokens: slice, middle: Middle) -> tuple[Wide, Wide]:
        """Where a tile has gate and up, kept or not, and what they become."""
        first = slice(tokens.stop - tokens.start)
        if slot.gate_up is not None:
            return slot.gate_up[tokens], middle.hidden[first]
        assert middle.gate_up is not None
        return middle.gate_up[first], middle.hidden[first]

    def _mask(self, batch: Batch, group: int, token: int = 0) -> Mask | None:
        """The dropout of one group's input; each tile of tokens has its own."""
        return None if batch.mask is None else batch.mask.at(self.number, group, token)

    def _heads(self, slot: Slot, batch: Batch, work: Work) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys ready for attention, and values: (T, heads, d)."""
        v = self._values(slot.qkv)
        if self.head_norms is None:
            return *self._query_and_key(slot.qkv), v
        normed = self._query_and_key(work.heads(len(slot.x)))
        raw = self._query_and_key(slot.qkv)
        for part, target, weight in zip(raw, normed, self.head_norms, strict=True):
            self.pieces.head_norm(part, weight, self.sizes.eps, target)
            self.pieces.rotate(target, batch.cos, batch.sin, target)
        return *normed, v

    def _query_and_key(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        sizes = self.sizes
        middle = sizes.queries + sizes.keys
        q, k = qkv[:, : sizes.queries], qkv[:, sizes.queries : middle]
        return self._by_head(q), self._by_head(k)

    def _values(self, qkv: Tensor) -> Tensor:
        return self._by_head(qkv[:, self.sizes.queries + self.sizes.keys :])

    def _by_head(self, part: Tensor) -> Tensor:
        return part.view(len(part), -1, self.sizes.head_width)
