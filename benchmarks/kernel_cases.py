"""The calls of the fused path at a model's shapes, for ``kernel_times.py``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from kernel_data import Shape, adapters_of, frozen, heads, mlp, moved, packed, random, wide
from kernel_times import Case

from core.model.fast import fused
from core.model.fast.attention import Attentions, Documents
from core.model.fast.fp8 import fused as eight
from core.model.fast.fp8.group import Fp8Group
from core.model.fast.linear import Group

_SCORED = 1024
"""Rows of logits; they come in tiles."""
_EPS = 1e-5


def cases(shape: Shape, device: torch.device, *, fp8: bool) -> Iterator[Case]:
    """All of them, each with memory of its own, which the next ones may have after it."""
    for name in shape.groups:
        yield from _linears(shape, name, device)
    yield from _norms(shape, device)
    yield from _attention(shape, device)
    for scaled in (False, True)[: 1 + fp8]:
        yield from _mlp(shape, device, scaled=scaled)
    yield from _ends(shape, device)
    if fp8:
        for name in shape.groups:
            yield from _in_fp8(shape, name, device)


def _linears(shape: Shape, name: str, device: torch.device) -> Iterator[Case]:
    rows, columns = shape.groups[name]
    weights, adapters = frozen(rows, columns, device), adapters_of(shape, name, device)
    group = Group(weights, adapters.places[0], None, adapters, fused)
    scratch = random(device, group.room)
    weight = group.expanded(scratch)
    yield Case("expand", name, partial(group.expanded, scratch), packed(weights) + moved(weight))
    x, dy = (wide(device, shape.tokens, width, group.pad) for width in (columns, group.rows))
    out, back = (random(device, shape.tokens, width) for width in (group.rows, columns))
    a, b, kept = group.a(weight), group.b(weight), random(device, shape.tokens, group.pad)
    yield Case(
        "project", name, partial(group.project, x, weight, None, kept), moved(x.whole, a, kept)
    )
    grad_b = adapters.grad_b(adapters.places[0])
    yield Case(
        "outward", name, partial(group.backward_adapters, dy, weight, x.tail),
        moved(dy.whole, b, x.tail, grad_b, grad_b),
    )  # fmt: skip
    yield Case(
        "project_backward", name, partial(group.backward_project, dy, x.main, None),
        moved(x.main, dy.tail, group.grad_a, group.grad_a),
    )  # fmt: skip
    yield Case(
        "product", f"{name} forward", partial(group.forward, x, weight, out),
        moved(x.whole, weight[: group.rows], out), 2 * x.whole.numel() * group.rows,
    )  # fmt: skip
    yield Case(
        "product", f"{name} backward", partial(group.backward_input, dy, weight, back, None),
        moved(dy.whole, weight[:, :columns], back), 2 * dy.whole.numel() * columns,
    )  # fmt: skip


def _in_fp8(shape: Shape, name: str, device: torch.device) -> Iterator[Case]:
    rows, columns = shape.groups[name]
    weights, adapters = frozen(rows, columns, device), adapters_of(shape, name, device)
    group = Fp8Group(weights, adapters.places[0], None, adapters, fused, eight, scale=1e-3)
    scratch = random(device, group.room)
    weight = group.expanded(scratch)
    for what, matrix in (("forward", weight.forward), ("backward", weight.backward)):
        ahead = what == "forward"
        yield Case(
            "expand to FP8", f"{name} {what}",
            partial(group.expanded, scratch, ahead=ahead, back=not ahead),
            packed(weights) + moved(matrix),
        )  # fmt: skip
        x = wide(device, shape.tokens, matrix.shape[1] - group.tail, group.pad)
        tail, (rounded, scales) = x.tail[:, : group.place.ranks], group._rounded(x.main, x.tail)
        yield Case(
            "quantize", f"{name} {what}, {x.main.shape[1]} columns",
            partial(eight.quantize, x.main, tail, rounded, scales, 1.0),
            moved(x.main, tail, rounded, scales),
        )  # fmt: skip
        out, flops = random(device, shape.tokens, len(matrix)), 2 * rounded.numel() * len(matrix)
        yield Case(
            "product in FP8", f"{name} {what}", partial(eight.multiply, rounded, matrix, out),
            moved(rounded, matrix, out), flops,
        )  # fmt: skip
        base = random(device, *out.shape) if ahead and name in ("o", "down") else None
        yield Case(
            "scale_rows", f"{name} {what}", partial(eight.scale_rows, out, scales, out, base),
            moved(out, scales, out, *(() if base is None else (base,))),
        )  # fmt: skip


def _norms(shape: Shape, device: torch.device) -> Iterator[Case]:
    x, dy, kept = (random(device, shape.tokens, shape.hidden) for _ in range(3))
    weight, out = random(device, shape.hidden), wide(device, shape.tokens, shape.hidden, 64).main
    yield Case(
        "rms_norm", "with a copy", partial(fused.rms_norm, x, weight, _EPS, out, kept),
        moved(x, out, kept),
    )  # fmt: skip
    yield Case(
        "rms_norm_backward", "with a residual",
        partial(fused.rms_norm_backward, dy, x, weight, _EPS, kept, kept),
        moved(dy, x, kept, kept),
    )  # fmt: skip
    angles = [random(device, shape.tokens, shape.head_width // 2) for _ in range(2)]
    norm = random(device, shape.head_width)
    for what, part in zip(("queries", "keys"), heads(shape, device)[:2], strict=True):
        yield Case("rotate", what, partial(fused.rotate, part, *angles, part),
                   moved(part, part, *angles))  # fmt: skip
        if shape.config["model_type"] == "qwen3":
            yield Case("head_norm", what, partial(fused.head_norm, part, norm, _EPS, part),
                       moved(part, part))  # fmt: skip
            yield Case(
                "head_norm_backward", what,
                partial(fused.head_norm_backward, torch.randn_like(part), part, norm, _EPS),
                moved(part, part, part),
            )  # fmt: skip


def _attention(shape: Shape, device: torch.device) -> Iterator[Case]:
    q, k, v = heads(shape, device)
    ends = torch.arange(0, shape.tokens + 1, shape.length, dtype=torch.int32, device=device)
    documents = Documents(ends, shape.tokens, shape.length, equal=True)
    attention = Attentions(device.type).best(q, k, documents)
    out, state = attention.forward(q, k, v, documents)
    # Half of the places lie behind a query; backward computes five products instead of two.
    flops = 2 * q.numel() * shape.length
    name = f"attention ({type(attention).__name__.lower()})"
    yield Case(name, "forward", partial(attention.forward, q, k, v, documents),
               moved(q, k, v, out), flops)  # fmt: skip
    grad = torch.randn_like(out)
    yield Case(
        name, "backward", partial(attention.backward, grad, q, k, v, out, state, documents),
        moved(grad, q, k, v, out, q, k, v), 2.5 * flops,
    )  # fmt: skip


def _mlp(shape: Shape, device: torch.device, *, scaled: bool) -> Iterator[Case]:
    gate_up, hidden, a, tail, kept, grad_a = mlp(shape, device)
    scales = torch.rand(shape.tokens, device=device) if scaled else None
    what = "rows with factors" if scaled else "rows"
    yield Case(
        "swiglu", what, partial(fused.swiglu, gate_up, a, hidden, tail, None, kept, scales),
        moved(gate_up, a, hidden, tail, kept),
    )  # fmt: skip
    seen = tail[:, : shape.rank]
    yield Case(
        "swiglu_backward", what,
        partial(fused.swiglu_backward, gate_up, hidden, seen, grad_a, None, scales, scales),
        moved(gate_up, gate_up, hidden, seen, grad_a, grad_a),
    )  # fmt: skip


def _ends(shape: Shape, device: torch.device) -> Iterator[Case]:
    """Embedding and loss."""
    words = int(shape.config["vocab_size"])
    table, ids = random(device, words, shape.hidden), torch.arange(shape.tokens, device=device)
    out = random(device, shape.tokens, shape.hidden)
    yield Case("embed", "", partial(fused.embed, table, ids % words, out), moved(out, out, ids))
    rows = min(_SCORED, shape.tokens)
    logits, losses = random(device, rows, words), torch.zeros(rows, device=device)
    yield Case(
        "cross_entropy", f"{rows} rows",
        partial(fused.cross_entropy, logits, ids[:rows] % words, losses), moved(logits, logits),
    )  # fmt: skip
