"""Whether attention is right where a sequence ends, for tensors that 32 bits do not reach across.

A kernel that counts its way through memory in 32 bits errs behind 2^31 bytes or elements, and says
nothing. The last tokens show it, and cost little: nobody but they reads them.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor
_TOKENS = 4
_MOST = 0.05
"""Difference as a part of the norm; of 349,440 tokens in bf16 flash's way leaves 0.005."""
_ZERO = 1e-20


def wide(part: Tensor) -> bool:
    """Whether some element lies 2^31 bytes or more behind the first."""
    last = sum((size - 1) * stride for size, stride in zip(part.shape, part.stride(), strict=True))
    return last * part.element_size() >= 1 << 31


def right_at_the_end(
    inputs: tuple[Tensor, Tensor, Tensor], out: Tensor, grad: Tensor,
    grads: tuple[Tensor, Tensor, Tensor], longest: int,
) -> bool:  # fmt: skip
    """Whether the last tokens have the output and the gradients that products and a softmax give.

    ``inputs`` are queries (T, heads, d), keys and values (T, key heads, d) of documents of
    ``longest`` tokens each, ``grad`` is the gradient of ``out``, ``grads`` are those of the inputs.
    """
    q, k, v = (part[-longest:] for part in inputs)
    each = q.shape[1] // k.shape[1]
    for head in range(k.shape[1]):
        own = slice(head * each, (head + 1) * each)
        dq, dk, dv = (part[-_TOKENS:] for part in grads)
        found = [
            part.float() for part in (out[-_TOKENS:, own], dq[:, own], dk[:, head], dv[:, head])
        ]
        wanted = _end(
            q[-_TOKENS:, own].float(), k[:, head].float(), v[:, head].float(),
            grad[-_TOKENS:, own].float(), found[0],
        )  # fmt: skip
        if not all(_near(one, other) for one, other in zip(found, wanted, strict=True)):
            return False
    return True


def _end(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, rounded: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output and gradients of the last n tokens: q and grad (n, heads, d), k and v (L, d).

    ``rounded`` is the output as the backward pass gets it: where nearly all weight lies on one key,
    its rounding decides about the gradient.
    """
    count, scale = len(q), q.shape[-1] ** -0.5
    scores = torch.einsum("nhd,ld->nhl", q, k) * scale
    behind = torch.ones(count, count, dtype=torch.bool, device=q.device).triu(1)
    scores[..., -count:].masked_fill_(behind[:, None], float("-inf"))
    weights = scores.softmax(-1)
    d_weights = torch.einsum("nhd,ld->nhl", grad, v)
    d_scores = weights * (d_weights - (grad * rounded).sum(-1, keepdim=True)) * scale
    dk = torch.einsum("nhl,nhd->ld", d_scores[..., -count:], q)
    dv = torch.einsum("nhl,nhd->ld", weights[..., -count:], grad)
    return weights @ v, d_scores @ k, dk, dv


def _near(found: Tensor, wanted: Tensor) -> bool:
    # Not a number is not near; what a kernel takes for zero is.
    return bool((found - wanted).norm() <= _MOST * wanted.norm() + _ZERO)
