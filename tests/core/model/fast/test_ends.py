"""Whether attention that errs at the end of a sequence is found out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from core.model.fast import attention
from core.model.fast.attention import Attentions, Cudnn, Documents, Flash, Plain
from core.model.fast.ends import right_at_the_end, wide

Tensor = torch.Tensor
LONGEST = 40
DOCUMENTS = Documents(torch.tensor([0, 40, 80], dtype=torch.int32), 80, LONGEST, True)
NAMES = "output", "queries", "keys", "values"


def attended() -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, list[Tensor]]:
    """Inputs, the gradient of the output, and what attention makes of them."""
    torch.manual_seed(0)
    q, k, v, grad = (torch.randn(80, heads, 16) for heads in (6, 2, 2, 6))
    out, state = Plain().forward(q, k, v, DOCUMENTS)
    grads = Plain().backward(grad, q, k, v, out, state, DOCUMENTS)
    return (q, k, v), grad, [out, *grads]


def right(found: list[Tensor]) -> bool:
    inputs, grad, _ = attended()
    return right_at_the_end(inputs, found[0], grad, (found[1], found[2], found[3]), LONGEST)


def test_attention_is_right_where_it_is() -> None:
    assert right(attended()[2])


@pytest.mark.parametrize("place", range(4), ids=NAMES)
@pytest.mark.parametrize(
    "spoil", [lambda end: end.zero_(), lambda end: end.fill_(torch.nan), torch.Tensor.neg_]
)
def test_what_errs_at_the_end_is_found_out(place: int, spoil: Callable[[Tensor], Tensor]) -> None:
    found = attended()[2]
    spoil(found[place][-1, -1])
    assert not right(found)


def test_how_far_32_bits_reach() -> None:
    def queries(tokens: int) -> Tensor:
        return torch.empty(tokens, 48, 128, dtype=torch.bfloat16, device="meta")[:, :32]

    assert not wide(queries(174_720))
    assert wide(queries(174_848))


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_long_sequence_takes_cudnn_only_where_its_end_is_right(
    spoiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backward(self: Cudnn, *given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dq, dk, dv = Plain().backward(*given)  # type: ignore[arg-type]
        if spoiled:
            dk[-1] = 0
        return dq, dk, dv

    monkeypatch.setattr(Cudnn, "forward", lambda self, *given: Plain().forward(*given))
    monkeypatch.setattr(Cudnn, "backward", backward)
    monkeypatch.setattr(Cudnn, "state_of", lambda self, state, heads: state)
    monkeypatch.setattr(attention, "wide", lambda part: True)
    q, k = torch.randn(512, 4, 16), torch.randn(512, 2, 16)
    documents = Documents(torch.tensor([0, 512], dtype=torch.int32), 512, 512, True)
    chosen = type(Attentions("cuda").best(q, k, documents))
    assert chosen is (Flash if spoiled else Cudnn)
