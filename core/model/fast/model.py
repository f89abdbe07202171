"""The fused path: the summed loss of a batch, and the adapters' gradients, without autograd.

One autograd function stands for the whole model. Its forward pass runs the layers one after the
other, its backward pass runs them by hand in the opposite order and adds to the adapters'
gradients itself, so that a trainer uses it like any loss.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import torch

from core.model.fast.attention import Documents
from core.model.fast.dropout import Mask
from core.model.fast.graphs import Graphs
from core.model.fast.layer import Batch
from core.model.fast.linear import Wide
from core.model.fast.plan import Plan
from core.model.fast.route import head_of, layers_of, pieces_for
from core.model.fast.stash import Slot, Stash, Widths, pinned
from core.model.fast.work import Work

Tensor = torch.Tensor


class FastModel:
    """A PEFT model that ``route.obstacle`` has nothing against, run by hand."""

    def __init__(self, model: Any, plan: Plan):
        self._model = model
        self._causal = model.get_base_model()
        device = self._causal.device
        dtype = self._causal.get_output_embeddings().weight.dtype
        self.plan = plan
        self._layers, self.adapters = layers_of(model, dtype, device)
        self._pieces = pieces_for(device)
        self._head = head_of(model, plan.loss_rows, device)
        self._work = Work(self._layers[0], tile=plan.mlp_tokens, dtype=dtype, device=device)
        self._stash = Stash(
            len(self._layers), plan.kept_layers, widths_of(self._layers[0]), dtype=dtype,
            device=device,
        )  # fmt: skip
        self._embedding = self._causal.get_input_embeddings().weight
        if plan.host_embedding and device.type == "cuda":
            self._embedding = _moved_to_host(self._embedding)
        self._anchor = torch.zeros((), device=device, requires_grad=True)
        self._dtype = dtype
        self._graphs = Graphs(enabled=device.type == "cuda")
        self._batches: dict[Hashable, Batch] = {}
        self._moves = 0
        self._part = float(model.peft_config[model.active_adapters[0]].lora_dropout)

    def __call__(self, batch: dict[str, Any]) -> Tensor:
        """The cross-entropy summed over a flat batch's ``targets``, in fp32; a scalar."""
        with torch.autocast(self._anchor.device.type, enabled=False):
            if not torch.is_grad_enabled():
                return self._forward(batch, keep=False)[0]
            loss: Tensor = _Step.apply(self._anchor, self, batch)  # type: ignore[no-untyped-call]
            return loss

    def _forward(self, batch: dict[str, Any], *, keep: bool) -> tuple[Tensor, Any]:
        passed, key = self._batch(batch, keep=keep)
        tokens = passed.documents.tokens
        self.adapters.gather()
        self.adapters.refresh()
        self._stash.begin(tokens, keep=keep)
        last = self._work.last(tokens)
        self._pieces.embed(self._embedding, batch["input_ids"], self._stash.slot(0).x)
        self._run(key, "forward", lambda: self._layers_forward(passed, last))
        rows = last.index_select(0, batch["rows"])
        loss, grad = self._head.loss(rows, batch["targets"], self._work, keep=keep)
        return loss, (passed, key, batch["rows"], rows, grad)

    def _layers_forward(self, passed: Batch, last: Tensor) -> None:
        slot = self._stash.slot(0)
        for number, layer in enumerate(self._layers):
            following = _Following(self._stash, number + 1, len(self._layers), last)
            layer.forward(slot, following.x, passed, self._work)
            self._stash.filled(number, slot)
            slot = following.slot or slot
        self._stash.join()

    def backward(self, kept: Any, scale: Tensor) -> None:
        """Add the gradients of the loss times ``scale`` to the adapters'."""
        passed, key, rows, last, grad = kept
        self.adapters.open_grads()
        running = self._work.gradient(passed.documents.tokens)
        running.main.zero_()
        grad.mul_(scale)
        running.main.index_copy_(0, rows, self._head.backward(grad, last))
        self._run(key, "backward", lambda: self._layers_backward(passed, running))

    def _layers_backward(self, passed: Batch, running: Wide) -> None:
        for number in reversed(range(len(self._layers))):
            slot = self._stash.load(number)
            self._layers[number].backward(slot, running, passed, self._work, first=number == 0)
            self._stash.release(number)

    def _run(self, key: Hashable | None, what: str, launch: Callable[[], None]) -> None:
        moves = self._work.moves + self._stash.moves
        if moves != self._moves:
            self._moves = moves
            self._graphs.forget()
        self._graphs.run(key and (key, what), launch)

    def _batch(self, batch: dict[str, Any], *, keep: bool) -> tuple[Batch, Hashable | None]:
        """The batch for the layers, and by which key its launches may be recorded."""
        lengths, tokens, ends = batch["lengths"], batch["input_ids"].numel(), batch["ends"]
        equal = min(lengths) == max(lengths)
        longest = max(lengths) if equal else max(*lengths, self.plan.longest)
        angles = self._angles(batch["position_ids"])
        mask = None
        if self._part and self._model.training and keep:
            seed = int(torch.randint(0, 2**32, ()).item())
            mask = Mask(self._part, torch.full((), seed, dtype=torch.int64, device=ends.device))
        made = Batch(Documents(ends, tokens, longest, equal), *angles, mask)
        if not keep or ends.device.type != "cuda" or not (equal or tokens == self.plan.tokens):
            return made, None
        # Documents without tokens fill up the number, so that few numbers are recorded.
        count = len(ends) if equal else 1 << len(ends).bit_length()
        key = (tokens, longest, equal, count, mask is not None)
        return self._lasting(key, made, count), key

    def _lasting(self, key: Hashable, made: Batch, count: int) -> Batch:
        """The batch in tensors that stay where they are, for this key."""
        if key not in self._batches:
            ends = made.documents.ends.new_empty(count)
            mask = made.mask and replace(made.mask, seed=torch.empty_like(made.mask.seed))
            self._batches[key] = Batch(
                replace(made.documents, ends=ends), made.cos.clone(), made.sin.clone(), mask
            )
        lasting, ends = self._batches[key], made.documents.ends
        lasting.documents.ends[: len(ends)] = ends
        lasting.documents.ends[len(ends) :] = made.documents.tokens
        lasting.cos.copy_(made.cos)
        lasting.sin.copy_(made.sin)
        if lasting.mask and made.mask:
            lasting.mask.seed.copy_(made.mask.seed)
        return lasting

    def _angles(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        like = torch.empty((), dtype=self._dtype, device=position_ids.device)
        cos, sin = self._causal.model.rotary_emb(like, position_ids[None])
        half = cos.shape[-1] // 2
        return cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()


@dataclass
class _Following:
    """The place of a layer's output: the next layer's slot, taken when it is first asked for.

    Any earlier the device would wait for the copy that the slot is busy with.
    """

    stash: Stash
    number: int
    layers: int
    last: Tensor
    slot: Slot | None = None

    def x(self) -> Tensor:
        if self.number == self.layers:
            return self.last
        if self.slot is None:
            self.slot = self.stash.slot(self.number)
        return self.slot.x


class _Step(torch.autograd.Function):
    """The whole model. The anchor is there so that autograd asks for a backward pass."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, model: FastModel, batch: dict[str, Any]) -> Tensor:
        loss, ctx.kept = model._forward(batch, keep=True)
        ctx.model = model
        return loss

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[None, None, None]:
        with torch.autocast(scale.device.type, enabled=False):
            ctx.model.backward(ctx.kept, scale)
        ctx.kept = None
        return None, None, None


def _moved_to_host(weight: torch.nn.Parameter) -> Tensor:
    """The embedding in pinned memory, from where kernels read its rows; the device's is freed."""
    table = pinned(*weight.shape, dtype=weight.dtype)
    table.copy_(weight.detach())
    weight.data = weight.new_empty(0, weight.shape[1])
    return table


def widths_of(layer: Any) -> Widths:
    """Columns of what one layer keeps."""
    return Widths(
        layer.sizes.hidden, layer.qkv.rows, layer.output.columns, layer.output.pad,
        (layer.qkv.pad, layer.gate_up.pad, layer.down.pad), layer.gate_up.rows, layer.gate_up.pad,
    )  # fmt: skip
