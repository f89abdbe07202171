"""The fused path: the summed loss of a batch, and the adapters' gradients, without autograd.

One autograd function stands for the whole model. Its forward pass runs the layers one after the
other, its backward pass runs them by hand in the opposite order and adds to the adapters'
gradients itself, so that a trainer uses it like any loss.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from itertools import accumulate
from typing import Any

import torch

from core.model.fast.attention import Documents
from core.model.fast.dropout import Mask
from core.model.fast.fp8.check import check
from core.model.fast.graphs import Graphs
from core.model.fast.head import Scored
from core.model.fast.layer import Batch
from core.model.fast.linear import Wide
from core.model.fast.pinned import pinned
from core.model.fast.plan import Plan
from core.model.fast.route import dropout_of, head_of, layers_of, pieces_for
from core.model.fast.slot import widths_of
from core.model.fast.stash import Stash
from core.model.fast.work import Work

Tensor = torch.Tensor


class FastModel:
    """A PEFT model that ``route.obstacle`` has nothing against, run by hand.

    ``fp8``: products with the frozen weights are made in FP8, not in the model's precision. Raises
    RefusedError where that goes wrong on this machine.
    """

    def __init__(self, model: Any, plan: Plan, *, fp8: bool = False):
        self._model = model
        self._causal = model.get_base_model()
        # Embedding and head may lie in the host's memory.
        device = self._causal.model.norm.weight.device
        dtype = self._causal.get_output_embeddings().weight.dtype
        self.plan = plan
        self._layers, self.adapters = layers_of(model, dtype, device, fp8=fp8)
        if fp8:
            check(self._layers[0].groups, dtype, device)
        self._pieces = pieces_for(device)
        self._work = Work(self._layers[0], tile=plan.mlp_tokens, dtype=dtype, device=device)
        self._stash = Stash(
            len(self._layers), widths_of(self._layers[0], dtype, light=plan.light), kept=plan.kept,
            held=plan.held, tokens=plan.piece_tokens, dtype=dtype, device=device,
        )  # fmt: skip
        self._embedding, table = _tables(self._causal, plan, device)
        self._head = head_of(model, plan, table, device)
        self._anchor = torch.zeros((), device=device, requires_grad=True)
        self._dtype = dtype
        # Graphs cost memory of their own; cards that are this small are no faster than the host.
        self._graphs = Graphs(enabled=device.type == "cuda" and not plan.host_head)
        self._batches: dict[Hashable, list[Batch]] = {}
        """Those that recorded launches read, which stay where they are."""
        self._moves = 0
        # The stock one goes through every module of the model, while the GPU waits.
        model.zero_grad = self.adapters.drop_grads
        self._part = dropout_of(model)

    def __call__(self, batch: dict[str, Any]) -> Tensor:
        """The cross-entropy summed over the ``targets`` of a batch's pieces, in fp32; a scalar."""
        with torch.autocast(self._anchor.device.type, enabled=False):
            if not torch.is_grad_enabled():
                return self._forward(batch["pieces"], keep=False)[0]
            loss: Tensor = _Step.apply(self._anchor, self, batch["pieces"])  # type: ignore[no-untyped-call]
            return loss

    def _forward(self, pieces: list[dict[str, Any]], *, keep: bool) -> tuple[Tensor, Any]:
        batches, key = self._batches_of(pieces, keep=keep)
        lengths = [batch.documents.tokens for batch in batches]
        self.adapters.gather()
        self._stash.begin(lengths, keep=keep, key=key)
        if not keep:
            self._forget()  # an evaluation comes seldom, and needs the memory
        running = self._work.running(lengths)
        for piece, hidden in zip(pieces, running, strict=True):
            self._pieces.embed(self._embedding, piece["input_ids"], hidden.main)
        self._run(key, "forward", lambda: self._layers_forward(batches, running))
        scored = [
            Scored(hidden.main, piece["rows"], piece["targets"])
            for piece, hidden in zip(pieces, running, strict=True)
        ]
        return self._head.loss(scored, self._work, keep=keep), (batches, key, running)

    def _layers_forward(self, batches: list[Batch], running: list[Wide]) -> None:
        for layer in self._layers:
            weights = self._work.expanded(layer)
            for number, (batch, hidden) in enumerate(zip(batches, running, strict=True)):
                cell = layer.number * len(batches) + number
                slot = self._stash.slot(cell)
                layer.forward(weights, slot, hidden, batch, self._work)
                self._stash.filled(cell, slot)
        self._stash.join()

    def backward(self, kept: Any, scale: Tensor) -> None:
        """Add the gradients of the loss times ``scale`` to the adapters'."""
        batches, key, running = kept
        self.adapters.open_grads()
        for grad in running:
            grad.main.mul_(scale)
        self._run(key, "backward", lambda: self._layers_backward(batches, running))

    def _layers_backward(self, batches: list[Batch], running: list[Wide]) -> None:
        for layer in reversed(self._layers):
            weights = self._work.expanded(layer, back=True, light=self.plan.light)
            for number in reversed(range(len(batches))):
                cell = layer.number * len(batches) + number
                slot, first = self._stash.load(cell), layer.number == 0
                layer.backward(
                    weights, slot, running[number], batches[number], self._work, first=first
                )
                self._stash.release(cell)

    def _run(self, key: Hashable | None, what: str, launch: Callable[[], None]) -> None:
        moves = self._work.moves + self._stash.moves
        if moves != self._moves:
            self._moves = moves
            self._forget()
        self._graphs.run(key and (key, what), launch)

    def _forget(self) -> None:
        self._graphs.forget()
        self._batches.clear()

    def _batches_of(
        self, pieces: list[dict[str, Any]], *, keep: bool
    ) -> tuple[list[Batch], Hashable | None]:
        """The pieces for the layers, and by which key their launches may be recorded."""
        lengths = [length for piece in pieces for length in piece["lengths"]]
        tokens = [piece["input_ids"].numel() for piece in pieces]
        equal = min(lengths) == max(lengths)
        longest = max(lengths) if equal else max(*lengths, self.plan.longest)
        mask = self._mask() if keep and self._part and self._model.training else None
        cos, sin = self._angles(torch.cat([piece["position_ids"] for piece in pieces]))
        begins = [0, *accumulate(tokens)]
        made = []
        for number, (piece, count) in enumerate(zip(pieces, tokens, strict=True)):
            part = slice(begins[number], begins[number + 1])
            documents = Documents(piece["ends"], count, longest, equal)
            made.append(Batch(documents, cos[part], sin[part], mask and mask.at(number)))
        full = all(count == self.plan.piece_tokens for count in tokens)
        if not keep or self._anchor.device.type != "cuda" or not (equal or full):
            return made, None
        # Documents without tokens fill up the number, so that few numbers are recorded.
        most = max(len(piece["ends"]) for piece in pieces)
        count = most if equal else 1 << most.bit_length()
        key = (tuple(tokens), longest, equal, count, mask is not None)
        if not self._graphs.knows((key, "forward")):
            return made, key  # launched as it is: of each length that comes once, none would go
        return self._lasting(key, made, count), key

    def _mask(self) -> Mask:
        seed = int(torch.randint(0, 2**32, ()).item())
        device = self._anchor.device
        return Mask(self._part, torch.full((), seed, dtype=torch.int64, device=device))

    def _lasting(self, key: Hashable, made: list[Batch], count: int) -> list[Batch]:
        """The batches in tensors that stay where they are, for this key."""
        if key not in self._batches:
            self._batches[key] = [_room_for(batch, count) for batch in made]
        for lasting, batch in zip(self._batches[key], made, strict=True):
            ends = batch.documents.ends
            lasting.documents.ends[: len(ends)] = ends
            lasting.documents.ends[len(ends) :] = batch.documents.tokens
            lasting.cos.copy_(batch.cos)
            lasting.sin.copy_(batch.sin)
            if lasting.mask and batch.mask:
                lasting.mask.seed.copy_(batch.mask.seed)
        return self._batches[key]

    def _angles(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        like = torch.empty((), dtype=self._dtype, device=position_ids.device)
        cos, sin = self._causal.model.rotary_emb(like, position_ids[None])
        half = cos.shape[-1] // 2
        return cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()


def _room_for(batch: Batch, count: int) -> Batch:
    """A batch like this one in memory of its own, with room for ``count`` ends of documents."""
    documents = replace(batch.documents, ends=batch.documents.ends.new_empty(count))
    mask = batch.mask and replace(batch.mask, seed=torch.empty_like(batch.mask.seed))
    return Batch(documents, batch.cos.clone(), batch.sin.clone(), mask)


class _Step(torch.autograd.Function):
    """The whole model. The anchor is there so that autograd asks for a backward pass."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, model: FastModel, pieces: list[dict[str, Any]]) -> Tensor:
        loss, ctx.kept = model._forward(pieces, keep=True)
        ctx.model = model
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[None, None, None]:
        with torch.autocast(scale.device.type, enabled=False):
            ctx.model.backward(ctx.kept, scale)
        ctx.kept = None
        return None, None, None


def _tables(causal: Any, plan: Plan, device: torch.device) -> tuple[Tensor, Tensor]:
    """Embedding and output head, each where the plan wants it; a tied one is both."""
    embedding, head = causal.get_input_embeddings().weight, causal.get_output_embeddings().weight
    if embedding is head:
        table = _placed(embedding, device, host=plan.host_head)
        return table, table
    return (
        _placed(embedding, device, host=plan.host_embedding),
        _placed(head, device, host=plan.host_head),
    )


def _placed(weight: torch.nn.Parameter, device: torch.device, *, host: bool) -> Tensor:
    """A table on the device, or in pinned memory with nothing of it left on the device."""
    if device.type != "cuda" or not host:
        weight.data = weight.data.to(device)
        return weight
    table = pinned(*weight.shape, dtype=weight.dtype)
    table.copy_(weight.detach())
    # Empty, but on the device: whoever moves the model there finds nothing to move.
    weight.data = torch.empty(0, weight.shape[1], dtype=weight.dtype, device=device)
    return table
