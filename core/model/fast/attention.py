"""Causal attention within documents, forward and backward apart, through torch's own kernels.

The one place that calls them. Equal lengths take cuDNN where it runs (on an H100 at 2,048 tokens
478 and 341 TFLOP/s forward and backward, flash 258 and 188), everything else flash attention,
which knows where documents end. ``Plain`` is the twin for any device.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from core.model.fast.ends import right_at_the_end, wide
from core.model.fast.footprint import head_groups

Tensor = torch.Tensor


@dataclass(frozen=True)
class Documents:
    """Where the documents of a batch lie in its T tokens, one after the other."""

    ends: Tensor
    """int32 on the device: 0, then the end of each document (cu_seqlens). The last may repeat."""
    tokens: int
    longest: int
    """At least the length of the longest."""
    equal: bool
    """All documents have the length ``longest``."""


class Attention(Protocol):
    """Queries (T, heads, d), keys and values (T, key heads, d); returns like the queries."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, documents: Documents
    ) -> tuple[Tensor, Tensor]:
        """The output, and what the backward pass needs beside it (log-sum-exp, fp32)."""

    def backward(
        self,
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        state: Tensor,
        documents: Documents,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k and v."""  # fmt: skip

    def state_of(self, state: Tensor, heads: slice) -> Tensor:
        """The part of ``state`` that belongs to some query heads."""


def groups_of(q: Tensor, k: Tensor) -> list[tuple[slice, slice]]:
    """Query heads, and the key heads that they read, which go backward together."""
    tokens, heads, _ = q.shape
    groups = head_groups(tokens, heads, k.shape[1])
    sizes = heads // groups, k.shape[1] // groups
    return [
        (slice(n * sizes[0], (n + 1) * sizes[0]), slice(n * sizes[1], (n + 1) * sizes[1]))
        for n in range(groups)
    ]


class Plain:
    """One document at a time, differentiated by autograd.

    On a GPU by products and a softmax: whoever looks for errors of kernels must not use them.
    """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, documents: Documents
    ) -> tuple[Tensor, Tensor]:
        return self._attend(q, k, v, documents), q.new_zeros(0)

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, state: Tensor,
        documents: Documents,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        with torch.enable_grad():
            q, k, v = (part.detach().requires_grad_() for part in (q, k, v))
            again = self._attend(q, k, v, documents)
        dq, dk, dv = torch.autograd.grad(again, (q, k, v), grad)
        return dq, dk, dv

    def state_of(self, state: Tensor, heads: slice) -> Tensor:
        return state

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
        lengths = documents.ends.diff().tolist()
        parts = zip(*(torch.split(part, lengths) for part in (q, k, v)), strict=True)
        return torch.cat([self._document(*part) for part in parts])

    def _document(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        with sdpa_kernel(SDPBackend.MATH) if q.is_cuda else nullcontext():
            out = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return out[0].transpose(0, 1)


class Flash:
    """FlashAttention-2 as torch carries it, for documents of any lengths."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, documents: Documents
    ) -> tuple[Tensor, Tensor]:
        ends, longest = documents.ends, documents.longest
        out, state, *self._random = torch.ops.aten._flash_attention_forward(
            q, k, v, ends, ends, longest, longest, 0.0, True, False, scale=q.shape[-1] ** -0.5
        )[:4]
        return out, state

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, state: Tensor,
        documents: Documents,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        ends, longest = documents.ends, documents.longest
        dq, dk, dv = torch.ops.aten._flash_attention_backward(
            grad, q, k, v, out, state, ends, ends, longest, longest, 0.0, True, *self._random,
            scale=q.shape[-1] ** -0.5,
        )  # fmt: skip
        return dq, dk, dv

    def state_of(self, state: Tensor, heads: slice) -> Tensor:
        return state[heads]  # (heads, T)


Strides = tuple[int, ...]
_LAYOUTS: dict[tuple[Any, ...], tuple[Strides, Strides]] = {}
"""Strides of output and gradient that torch built a backward plan with, by what it keeps it under:
the thread, and sizes and strides of queries, keys and values. A later call gets the same plan
whatever its own output and gradient look like, so they have to look like that (MHA.cpp)."""


class Cudnn:
    """cuDNN's attention, for documents of one length. It builds a plan for each new shape."""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, documents: Documents
    ) -> tuple[Tensor, Tensor]:
        found = torch.ops.aten._scaled_dot_product_cudnn_attention(
            *(_batched(part, documents) for part in (q, k, v)), None, True, 0.0, True, False,
            scale=q.shape[-1] ** -0.5,
        )  # fmt: skip
        out, state = found[:2]
        self._random = found[6:8]
        return out.transpose(1, 2).reshape(q.shape), state

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, state: Tensor,
        documents: Documents,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        longest = documents.longest
        out, grad = self._laid_out(out, grad, (q, k, v), longest)
        heads = (_batched(part, documents) for part in (grad, q, k, v, out))
        grads = torch.ops.aten._scaled_dot_product_cudnn_attention_backward(
            *heads, state, *self._random, None, None, None, longest, longest, 0.0, True,
            scale=q.shape[-1] ** -0.5,
        )  # fmt: skip
        # One document alone would be a view, whose heads need not lie side by side.
        dq, dk, dv = (
            g.transpose(1, 2).reshape(like.shape).contiguous()
            for g, like in zip(grads, (q, k, v), strict=True)
        )
        return dq, dk, dv

    def state_of(self, state: Tensor, heads: slice) -> Tensor:
        return state[:, heads].contiguous()  # (documents, heads, length, 1)

    def _laid_out(
        self, out: Tensor, grad: Tensor, inputs: tuple[Tensor, ...], longest: int
    ) -> tuple[Tensor, Tensor]:
        """Output and gradient in the layout that the plan for such inputs reads."""
        shapes = tuple((part.shape, part.stride()) for part in inputs)
        key = (threading.get_ident(), inputs[0].get_device(), inputs[0].dtype, longest, *shapes)
        wanted = _LAYOUTS.setdefault(key, (out.stride(), grad.stride()))
        return _like(out, wanted[0]), _like(grad, wanted[1])


def _like(part: Tensor, strides: Strides) -> Tensor:
    """The same numbers, with these strides."""
    if part.stride() == strides:
        return part
    return torch.empty_strided(
        part.shape, strides, dtype=part.dtype, device=part.device
    ).copy_(part)  # fmt: skip


def _batched(part: Tensor, documents: Documents) -> Tensor:
    """(T, heads, d) as (documents, heads, length, d), without a copy."""
    length = documents.longest
    return part.view(-1, length, *part.shape[1:]).transpose(1, 2)


class Attentions:
    """Picks the fastest that runs for a batch; what does not run here is tried once."""

    def __init__(self, device: str):
        self._plain = device == "cpu"
        self._flash, self._cudnn = Flash(), Cudnn()
        self._cudnn_runs: dict[tuple[Any, ...], bool] = {}

    def best(self, q: Tensor, k: Tensor, documents: Documents) -> Attention:
        if self._plain:
            return Plain()
        # cuDNN's backward pass adds in any order; flash's obeys this setting.
        if torch.are_deterministic_algorithms_enabled():
            return self._flash
        # Shorter documents gain nothing and would build a plan for every length.
        if not documents.equal or documents.longest % 128 or documents.longest < 512:
            return self._flash
        shape = (q.shape, k.shape, documents.longest)
        if shape not in self._cudnn_runs:
            self._cudnn_runs[shape] = self._try_cudnn(q, k, documents)
        return self._cudnn if self._cudnn_runs[shape] else self._flash

    def _try_cudnn(self, q: Tensor, k: Tensor, documents: Documents) -> bool:
        """Whether cuDNN takes such a batch; one group of heads tells."""
        heads, keys = groups_of(q, k)[0]
        try:
            out, state = self._cudnn.forward(q, k, k, documents)
            # Dense: what comes in another layout in this thread is copied to it.
            out, inputs = out[:, heads].contiguous(), (q[:, heads], k[:, keys], k[:, keys])
            state = self._cudnn.state_of(state, heads)
            grads = self._cudnn.backward(out, *inputs, out, state, documents)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError):
            return False  # this shape, card or version: flash takes it
        return not wide(q) or right_at_the_end(inputs, out, out, grads, documents.longest)
