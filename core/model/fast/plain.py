"""The pieces of the fused path in plain torch: what each kernel of ``fused`` must compute.

They run on any device and in any precision. On a CPU they are the path itself, which is how its
mathematics is tested without a GPU; ``fused`` has the same functions as Triton kernels.

Shapes: T tokens, all documents of a batch one after the other; h hidden size, f intermediate
size, N rows and K columns of a weight, R the summed rank of the linears that share an input.
"""

from __future__ import annotations

import torch

from core.model.fast.dropout import Mask, keep
from core.model.fast.nf4 import Nf4

Tensor = torch.Tensor


def expand(weights: list[Nf4], a: Tensor, b: Tensor, scaling: float, out: Tensor) -> None:
    """Write frozen weights with their adapter around them into ``out``.

    ``out`` is (N + pad, K + pad): the dequantized rows of all ``weights`` above one another, in
    the last columns ``scaling`` times ``b`` (N, r) as one block a weight, in the last rows ``a``
    (R, K), both given in fp32. So one product with its first N rows gives ``x W' + (x A') B'``,
    and one with its first K columns gives ``dY W + (dY B) A``.
    """
    rows, columns = b.shape[0], a.shape[1]
    rank = b.shape[1]
    out[:, columns:].zero_()
    out[rows:].zero_()
    out[rows : rows + a.shape[0], :columns] = a
    first = 0
    for number, weight in enumerate(weights):
        part = slice(first, first + weight.rows)
        out[part, :columns] = weight.dequantized(out.dtype)
        begin = columns + number * rank
        out[part, begin : begin + rank] = b[part] * scaling
        first += weight.rows


def rms_norm(
    x: Tensor, weight: Tensor, eps: float, out: Tensor, kept: Tensor | None = None
) -> None:
    """Root mean square norm of each row; statistics in fp32. ``kept`` gets a copy of ``x``."""
    if kept is not None:
        kept.copy_(x)
    wide = x.to(_statistics(x))
    out.copy_(wide * _inverse_rms(wide, eps) * weight)


def rms_norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor, eps: float, residual: Tensor | None, out: Tensor,
    scales: Tensor | None = None,
) -> None:  # fmt: skip
    """Gradient of the norm's input, plus that of the residual beside it, into ``out``.

    ``scales`` (T,), here and below: a factor that rows of the gradient still lack.
    """
    wide = x.to(_statistics(x))
    scale = _inverse_rms(wide, eps)
    normed, grad = wide * scale, _scaled(dy, scales, wide.dtype) * weight
    dx = scale * (grad - normed * (grad * normed).mean(-1, keepdim=True))
    out.copy_(dx if residual is None else dx + residual)


def rotate(qk: Tensor, cos: Tensor, sin: Tensor, out: Tensor, *, back: bool = False) -> None:
    """Rotary position embedding of ``qk`` (T, heads, d); ``cos`` and ``sin`` are (T, d / 2).

    ``out`` may be ``qk`` itself. ``back`` turns the other way: the gradient of the same.
    """
    half = qk.shape[-1] // 2
    cos, sin = cos[:, None].to(_statistics(qk)), sin[:, None].to(_statistics(qk))
    sin = -sin if back else sin
    first, second = qk[..., :half].to(cos.dtype), qk[..., half:].to(cos.dtype)
    rotated = first * cos - second * sin, second * cos + first * sin
    out[..., :half], out[..., half:] = rotated


def copy_rows(x: Tensor, out: Tensor) -> None:
    """``x`` (T, w) into ``out``, whose rows may lie further apart."""
    out.copy_(x)


def head_norm(qk: Tensor, weight: Tensor, eps: float, out: Tensor) -> None:
    """The norm of each head's vector, before it is rotated (Qwen3). ``qk`` (T, heads, d)."""
    rms_norm(qk, weight, eps, out)


def head_norm_backward(dy: Tensor, qk: Tensor, weight: Tensor, eps: float) -> None:
    """Gradient of ``head_norm``'s input, in place of ``dy``."""
    rms_norm_backward(dy, qk, weight, eps, None, dy)


def swiglu(
    gate_up: Tensor, a: Tensor, out: Tensor, tail: Tensor, mask: Mask | None, kept: Tensor,
    scales: Tensor | None = None,
) -> None:  # fmt: skip
    """``silu(gate) * up`` of ``gate_up`` (T, 2 f) into ``out``, and its projection beside it."""
    gate, up = _scaled(gate_up, scales, _statistics(gate_up)).chunk(2, -1)
    out.copy_(torch.nn.functional.silu(gate) * up)
    project(out, a, tail, 1, mask, kept)


def swiglu_backward(
    gate_up: Tensor, grad: Tensor, tail: Tensor, grad_a: Tensor, mask: Mask | None,
    scales: Tensor | None = None, grad_scales: Tensor | None = None,
) -> None:  # fmt: skip
    """``gate_up`` becomes its gradient, from ``grad`` (T, f) of the output, which is used up.

    The gradient of down_proj's A is added to ``grad_a`` (r, f); ``tail`` (T, r) is what
    ``outward`` made of the gradient of its output.
    """
    gate, up = _scaled(gate_up, scales, _statistics(gate_up)).chunk(2, -1)
    down = _scaled(grad, grad_scales, gate.dtype)
    sigmoid = torch.sigmoid(gate)
    silu = gate * sigmoid
    d_gate = down * up * (sigmoid + silu * (1 - sigmoid))
    d_up = down * silu
    grad.copy_(silu * up)
    gate_up.copy_(torch.cat([d_gate, d_up], -1))
    project_backward(grad, tail, grad_a, 1, mask)


def project(
    x: Tensor, a: Tensor, out: Tensor, linears: int, mask: Mask | None, kept: Tensor | None = None
) -> None:
    """``dropout(x) A'`` for the A of each linear that reads ``x``, into ``out`` (T, pad).

    ``a`` is (R, K), R / ``linears`` rows for each, and each sees a dropout of its own. ``kept``
    gets a copy.
    """
    out.zero_()
    rank = a.shape[0] // linears
    for number in range(linears):
        part = slice(number * rank, (number + 1) * rank)
        seen = x if mask is None else x * keep(x, number, mask)
        out[:, part] = seen @ a[part].t()
    if kept is not None:
        kept.copy_(out)


def project_backward(
    x: Tensor, tail: Tensor, grad: Tensor, linears: int, mask: Mask | None
) -> None:
    """Add ``tail' dropout(x)``, the gradient of A, to ``grad`` (R, K) in fp32. ``tail`` (T, R)."""
    rank = grad.shape[0] // linears
    for number in range(linears):
        part = slice(number * rank, (number + 1) * rank)
        seen = x if mask is None else x * keep(x, number, mask)
        grad[part] += product(tail[:, part].t(), seen)


def outward(
    dy: Tensor, b: Tensor, x_tail: Tensor, out: Tensor, grad: Tensor, rows: list[int],
    scaling: float,
) -> None:  # fmt: skip
    """Both thin products with the gradient ``dy`` (T, N) of linears of so many ``rows``.

    ``out`` (T, pad) gets ``dY B`` of each, zero beyond R columns, and ``scaling`` times
    ``dY' (x A')``, the gradient of B, is added to ``grad`` (N, r). ``b`` (N, R) is as ``expand``
    lays it, a block for each linear; ``x_tail`` (T, R) is ``x A'``.
    """
    rank, first = b.shape[1] // len(rows), 0
    out[:, b.shape[1] :].zero_()
    for number, count in enumerate(rows):
        part, ranks = slice(first, first + count), slice(number * rank, (number + 1) * rank)
        torch.mm(dy[:, part], b[part, ranks], out=out[:, ranks])
        grad[part].add_(product(dy[:, part].t(), x_tail[:, ranks]), alpha=scaling)
        first += count


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product that leaves the sums in fp32, for gradients that are added up."""
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left @ right


def spread(dx: Tensor, tail: Tensor, a: Tensor, linears: int, mask: Mask) -> None:
    """Add each linear's ``tail A`` behind its dropout to ``dx`` (T, K), in place."""
    rank = a.shape[0] // linears
    for number in range(linears):
        part = slice(number * rank, (number + 1) * rank)
        dx += (tail[:, part] @ a[part]) * keep(dx, number, mask)


def cross_entropy(logits: Tensor, targets: Tensor, losses: Tensor) -> None:
    """Each row's loss into ``losses`` (fp32); ``logits`` (rows, V) become their gradient."""
    wide = logits.to(_statistics(logits))
    total = torch.logsumexp(wide, -1)
    rows = torch.arange(len(targets), device=targets.device)
    losses.copy_(total - wide[rows, targets])
    grad = torch.exp(wide - total[:, None])
    grad[rows, targets] -= 1
    logits.copy_(grad)


def score_tile(
    logits: Tensor, places: Tensor, highest: Tensor, total: Tensor, wanted: Tensor
) -> None:
    """Take a tile of logits (rows, W) into each row's highest and its sum of exponents below that.

    ``places`` (rows,): where in the tile the row's target lies, whose logit goes to ``wanted``;
    below 0 or from W on it lies in another tile. All sums are fp32.
    """
    wide = logits.to(highest.dtype)
    higher = torch.maximum(highest, wide.amax(1))
    base = higher.clamp(min=torch.finfo(higher.dtype).min)  # a tile may be all minus infinity
    total.mul_((highest - base).exp()).add_((wide - base[:, None]).exp().sum(1))
    highest.copy_(base)
    inside = (places >= 0) & (places < logits.shape[1])
    found = wide.gather(1, places.clamp(0, logits.shape[1] - 1)[:, None])[:, 0]
    wanted.copy_(torch.where(inside, found, wanted))


def tile_gradient(logits: Tensor, places: Tensor, logsum: Tensor) -> None:
    """A tile of logits becomes its gradient; ``logsum`` (rows,) is each row's over all tiles."""
    columns = torch.arange(logits.shape[1], device=logits.device)
    part = (logits.to(logsum.dtype) - logsum[:, None]).exp()
    logits.copy_(part - (columns == places[:, None]).to(part.dtype))


def embed(weight: Tensor, ids: Tensor, out: Tensor) -> None:
    """Rows ``ids`` of the embedding into ``out`` (T, h)."""
    out.copy_(weight[ids])


def difference(found: Tensor, wanted: Tensor) -> float:
    """How far a result is from its twin's, as a part of that one's norm. Waits for the device."""
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def _scaled(x: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if scales is None else x.to(dtype) * scales[:, None].to(dtype)


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    return torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


def _statistics(x: Tensor) -> torch.dtype:
    """Half precisions are computed in fp32; fp64 stays, for exact tests."""
    return torch.promote_types(x.dtype, torch.float32)
