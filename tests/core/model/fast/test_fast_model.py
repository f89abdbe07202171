"""The mathematics of the fused path, against PEFT, transformers and autograd; on the CPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fast_models import FAMILIES, adapted, flat_batch, gradients, reference_loss, whole

from core.model.fast import footprint, work
from core.model.fast.attention import Plain
from core.model.fast.model import FastModel
from core.model.fast.plan import Plan
from core.model.fast.route import obstacle

LENGTHS = [7, 20, 1, 13]


def farthest(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> float:
    """Largest relative error over all tensors."""
    assert found.keys() == wanted.keys()
    return max(float((found[n] - wanted[n]).norm() / wanted[n].norm()) for n in wanted)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_peft(family: str) -> None:
    model, batch = adapted(family), flat_batch(LENGTHS)
    loss = reference_loss(model, batch)
    (loss / 10).backward()
    wanted = gradients(model)
    fast = FastModel(model, Plan(kept=3))
    own = fast(whole(batch))
    (own / 10).backward()
    assert own.item() == pytest.approx(loss.item(), rel=1e-6)
    assert farthest(gradients(model), wanted) < 1e-5


def test_a_window_as_long_as_the_longest_row_hides_nothing() -> None:
    """The longest row counts, not all that is packed; under a shorter window it is another model.

    Half of it, for what the last tokens of a row see is not learned from.
    """
    batch, longest, losses = flat_batch(LENGTHS), max(LENGTHS), []
    for window in (longest, longest // 2):
        model = adapted("mistral", changes={"sliding_window": window})
        loss = reference_loss(model, batch)
        loss.backward()
        wanted = gradients(model)
        own = FastModel(model, Plan(kept=3))(whole(batch))
        own.backward()
        found = gradients(model)
        losses.append((loss.item(), own.item()))
        assert (farthest(found, wanted) < 1e-5) == (window == longest)
        assert (obstacle(model, longest) is None) == (window == longest)
    assert losses[0][1] == pytest.approx(losses[0][0], rel=1e-6)
    assert losses[1][1] != pytest.approx(losses[1][0], rel=1e-6)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_heads_go_backward_in_groups_as_all_at_once(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch, found = adapted(family), flat_batch(LENGTHS), []
    counted: list[int] = []
    backward = Plain.backward
    monkeypatch.setattr(
        Plain, "backward", lambda *given: counted.append(given[1].shape[1]) or backward(*given)
    )
    for pairs in (1 << 19, 2):
        monkeypatch.setattr(footprint, "_PAIRS", pairs)
        FastModel(model, Plan(kept=3))(whole(batch)).backward()
        found.append(gradients(model))
    assert counted == [4] * 3 + [2] * 6
    assert farthest(found[1], found[0]) < 1e-6


@pytest.mark.parametrize(("pairs", "whole_gradient"), [(1 << 19, True), (2, False)])
def test_what_flash_attention_would_copy_is_what_the_plan_reckons(
    pairs: int, whole_gradient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the gradient of all heads, which lies in one piece; that of some, and any output."""
    model, batch, seen = adapted("llama"), flat_batch(LENGTHS), []
    backward = Plain.backward

    def watched(self: Plain, grad: Any, q: Any, k: Any, v: Any, out: Any, *rest: Any) -> Any:
        seen.append((grad.is_contiguous(), out.is_contiguous()))
        return backward(self, grad, q, k, v, out, *rest)

    monkeypatch.setattr(Plain, "backward", watched)
    monkeypatch.setattr(footprint, "_PAIRS", pairs)
    FastModel(model, Plan(kept=3))(whole(batch)).backward()
    assert set(seen) == {(whole_gradient, False)}


def test_how_memory_is_spent_changes_nothing_but_rounding() -> None:
    model, batch = adapted("llama"), flat_batch(LENGTHS)
    found = []
    for plan in (Plan(3), Plan(1), Plan(0, mlp_tokens=16, loss_rows=7)):
        FastModel(model, plan)(whole(batch)).backward()
        found.append(gradients(model))
    assert farthest(found[1], found[0]) == 0
    assert farthest(found[2], found[0]) < 1e-5


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize(
    "plan", [Plan(0, mlp_tokens=16), Plan(3), Plan(6), Plan(3, mlp_tokens=16, light=True)]
)
def test_nothing_is_read_that_was_not_written(
    family: str, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shared memory holds what others left, which may be anything; also behind the ranks."""
    model, first, second = adapted(family), flat_batch([7, 20]), flat_batch([13, 4, 2])
    FastModel(model, plan)(whole(first, second)).backward()
    wanted = gradients(model)
    empty = torch.empty

    def spoiled(*shape: Any, **kind: Any) -> torch.Tensor:
        return empty(*shape, **kind).fill_(torch.nan)

    monkeypatch.setattr(work.torch, "empty", spoiled)
    FastModel(model, plan)(whole(first, second)).backward()
    assert farthest(gradients(model), wanted) == 0


def test_gradients_of_micro_batches_add_up() -> None:
    model = adapted("llama")
    fast = FastModel(model, Plan(3))
    first, second = flat_batch([7, 20]), flat_batch([13])
    fast(whole(first)).backward()
    alone = gradients(model)
    fast(whole(second)).backward()
    other = gradients(model)
    fast(whole(first)).backward()
    fast(whole(second)).backward()
    assert farthest(gradients(model), {n: alone[n] + other[n] for n in alone}) < 1e-6


def test_pieces_of_a_pass_are_like_passes_of_their_own() -> None:
    model = adapted("qwen3")
    first, second = flat_batch([7, 20]), flat_batch([13, 4, 2])
    fast = FastModel(model, Plan(2))
    losses = [fast(whole(piece)) for piece in (first,)]
    losses[0].backward()
    losses.append(fast(whole(second)))
    losses[1].backward()
    apart = gradients(model)
    together = fast(whole(first, second))
    together.backward()
    assert together.item() == pytest.approx(sum(loss.item() for loss in losses), rel=1e-6)
    assert farthest(gradients(model), apart) < 1e-6


def test_linears_without_an_adapter_stay_as_they_are() -> None:
    model, batch = adapted("qwen2", targets=["q_proj", "v_proj", "up_proj"]), flat_batch(LENGTHS)
    loss = reference_loss(model, batch)
    loss.backward()
    wanted = gradients(model)
    own = FastModel(model, Plan(3))(whole(batch))
    own.backward()
    assert own.item() == pytest.approx(loss.item(), rel=1e-6)
    assert farthest(gradients(model), wanted) < 1e-5


def test_an_evaluation_draws_no_dropout_and_no_random_number() -> None:
    model, batch = adapted("llama", lora_dropout=0.3), flat_batch(LENGTHS)
    fast = FastModel(model, Plan(3))
    state = torch.random.get_rng_state()
    with torch.no_grad():
        model.eval()
        loss = fast(whole(batch)).item()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert loss == pytest.approx(reference_loss(model, batch).item(), rel=1e-6)
    model.train()
    assert fast(whole(batch)).item() != pytest.approx(loss, rel=1e-6)


def test_gradients_with_dropout_are_the_slope_of_the_loss() -> None:
    model, batch = adapted("llama", lora_dropout=0.25), flat_batch(LENGTHS)
    fast = FastModel(model, Plan(3, mlp_tokens=16))

    def loss() -> torch.Tensor:
        torch.manual_seed(5)  # the same mask each time
        return fast(whole(batch))

    loss().backward()
    slopes = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    parameters = dict(model.named_parameters())
    torch.manual_seed(6)
    for name in slopes:
        if ".layers.1." not in name:
            continue
        step = torch.randn_like(slopes[name]) * 3e-3
        ends = []
        for sign in (1, -1):
            parameters[name].data.add_(step, alpha=sign)
            ends.append(loss().item())
            parameters[name].data.add_(step, alpha=-sign)
        slope = float((slopes[name] * step).sum())
        assert (ends[0] - ends[1]) / 2 == pytest.approx(slope, rel=0.05, abs=5e-5), name


def test_a_batch_without_labels_costs_nothing_and_learns_nothing() -> None:
    model, batch = adapted("llama"), flat_batch(LENGTHS)
    batch |= {"rows": batch["rows"][:0], "targets": batch["targets"][:0]}
    loss = FastModel(model, Plan(3))(whole(batch))
    loss.backward()
    assert loss.item() == 0
    assert all(not grad.any() for grad in gradients(model).values())


def test_only_lengths_that_are_recorded_keep_their_positions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU a recorded pass reads them where they were; others would stay for nothing."""
    fast = FastModel(adapted("llama"), Plan(3, longest=64, piece=1, micro_batch=1))
    monkeypatch.setattr(fast, "_anchor", SimpleNamespace(device=torch.device("cuda")))
    recorded: set[Any] = set()
    monkeypatch.setattr(fast._graphs, "knows", recorded.__contains__)

    def of(length: int) -> tuple[list[Any], Any]:
        return fast._batches_of([flat_batch([length])], keep=True)

    for length in range(8, 64):
        of(length)
    assert fast._batches == {}
    first, key = of(32)
    recorded.add((key, "forward"))
    lasting, again = of(32)
    assert again == key
    assert list(fast._batches) == [key]
    assert torch.equal(lasting[0].cos, first[0].cos)
    assert of(32)[0][0].cos is lasting[0].cos
    fast._forget()
    assert fast._batches == {}
