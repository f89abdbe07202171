"""The fused path: the summed loss of a batch, and the adapters' gradients, without autograd.

One autograd function stands for the whole model. Its forward pass runs the layers one after the
other, its backward pass runs them by hand in the opposite order and adds to the adapters'
gradients itself, so that a trainer uses it like any loss.
"""

from __future__ import annotations

from typing import Any

import torch

from core.model.fast.attention import Documents
from core.model.fast.layer import Batch
from core.model.fast.linear import Dropout
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
        self._part = float(model.peft_config[model.active_adapters[0]].lora_dropout)

    def __call__(self, batch: dict[str, Any]) -> Tensor:
        """The cross-entropy summed over a flat batch's ``targets``, in fp32; a scalar."""
        with torch.autocast(self._anchor.device.type, enabled=False):
            if not torch.is_grad_enabled():
                return self._forward(batch, keep=False)[0]
            loss: Tensor = _Step.apply(self._anchor, self, batch)  # type: ignore[no-untyped-call]
            return loss

    def _forward(self, batch: dict[str, Any], *, keep: bool) -> tuple[Tensor, Any]:
        passed = self._batch(batch, keep=keep)
        tokens = passed.documents.tokens
        self.adapters.gather()
        self.adapters.refresh()
        self._stash.begin(tokens, keep=keep)
        last = self._work.last(tokens)
        slot = self._stash.slot(0)
        self._pieces.embed(self._embedding, batch["input_ids"], slot.x)
        for number, layer in enumerate(self._layers):
            following: list[Slot] = []

            def out(number: int = number, following: list[Slot] = following) -> Tensor:
                if number + 1 == len(self._layers):
                    return last
                if not following:
                    following.append(self._stash.slot(number + 1))
                return following[0].x

            layer.forward(slot, out, passed, self._work)
            self._stash.filled(number, slot)
            slot = following[0] if following else slot
        rows = last.index_select(0, batch["rows"])
        loss, grad = self._head.loss(rows, batch["targets"], self._work, keep=keep)
        return loss, (passed, batch["rows"], rows, grad)

    def backward(self, kept: Any, scale: Tensor) -> None:
        """Add the gradients of the loss times ``scale`` to the adapters'."""
        passed, rows, last, grad = kept
        self.adapters.open_grads()
        running = self._work.gradient(passed.documents.tokens)
        running.main.zero_()
        grad.mul_(scale)
        running.main.index_copy_(0, rows, self._head.backward(grad, last))
        for number in reversed(range(len(self._layers))):
            slot = self._stash.load(number)
            self._layers[number].backward(slot, running, passed, self._work, first=number == 0)
            self._stash.release(number)

    def _batch(self, batch: dict[str, Any], *, keep: bool) -> Batch:
        like = torch.empty((), dtype=self._dtype, device=self._anchor.device)
        cos, sin = self._causal.model.rotary_emb(like, batch["position_ids"][None])
        half = cos.shape[-1] // 2
        part = self._part if self._model.training and keep else 0.0
        seed = int(torch.randint(0, 2**32, ()).item()) if part else 0
        return Batch(
            Documents(batch["ends"], tuple(batch["lengths"])),
            cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous(), Dropout(part, seed),
        )  # fmt: skip


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
    table = pinned(weight.numel(), weight.dtype).view(weight.shape)
    table.copy_(weight.detach())
    weight.data = weight.new_empty(0, weight.shape[1])
    return table


def widths_of(layer: Any) -> Widths:
    """Columns of what one layer keeps."""
    return Widths(
        layer.sizes.hidden, layer.qkv.rows, layer.output.columns, layer.output.pad,
        (layer.qkv.pad, layer.gate_up.pad, layer.down.pad), layer.gate_up.rows, layer.gate_up.pad,
    )  # fmt: skip
