"""What the fused path does with memory. The shape is Llama-3.1-8B's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.model.fast.plan import GIB, Dims, Plan, choose, host_bytes, parts, peak_bytes

LLAMA_8B = Dims(
    layers=32, hidden=4096, intermediate=14336, queries=4096, keys=1024, vocabulary=128256,
    tied=False, rank=16, heads=32,
)  # fmt: skip
HOST = 200 * GIB


def test_numbers_of_a_known_model() -> None:
    assert LLAMA_8B.linear_weights * 32 == 6_979_321_856
    assert LLAMA_8B.adapter_weights == 41_943_040


@pytest.mark.parametrize(
    ("plan", "measured_gib"),
    [
        (Plan(2, host_embedding=True, micro_batch=8, piece=1, longest=2048), 6.058),
        (Plan(1, host_embedding=True, micro_batch=8, piece=2, longest=2048), 6.506),
    ],
)
def test_the_peak_is_what_was_measured_on_an_h100(plan: Plan, measured_gib: float) -> None:
    """Peak allocated memory; docs/performance.md has the runs."""
    assert sum(parts(LLAMA_8B, plan).values()) / GIB == pytest.approx(measured_gib, rel=0.05)


@given(st.floats(5.5, 80), st.sampled_from([1, 4, 6, 16]), st.sampled_from([512, 2048, 8192]))
def test_a_plan_stays_within_its_limit_where_that_is_possible(
    limit_gib: float, batch: int, length: int
) -> None:
    limit = int(limit_gib * GIB)
    plan = choose(
        LLAMA_8B, length=length, effective_batch=batch, limit_bytes=limit, host_limit_bytes=HOST
    )
    assert plan is not None
    assert batch % plan.micro_batch == 0
    assert plan.micro_batch % plan.piece == 0
    smallest = Plan(0, mlp_tokens=512, host_embedding=True, host_head=True, longest=length)
    if peak_bytes(LLAMA_8B, smallest) <= limit:
        assert peak_bytes(LLAMA_8B, plan) <= limit
    else:
        assert (plan.micro_batch, plan.kept) == (1, 0)


def test_more_memory_keeps_more() -> None:
    plans = [
        choose(LLAMA_8B, length=2048, effective_batch=2, limit_bytes=gib * GIB,
               host_limit_bytes=HOST)
        for gib in (7, 10, 14, 30)
    ]  # fmt: skip
    kept = [plan.kept / (32 * plan.pieces) for plan in plans if plan]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1] == 1


def test_a_small_model_stays_on_the_device_where_copies_would_wait() -> None:
    small = Dims(
        layers=16, hidden=2048, intermediate=8192, queries=2048, keys=512, vocabulary=128256,
        tied=True, rank=16, heads=32,
    )  # fmt: skip
    assert small.copied > 1 > LLAMA_8B.copied
    plan = choose(
        small, length=2048, effective_batch=8, limit_bytes=70 * GIB, host_limit_bytes=HOST
    )
    assert plan is not None
    assert plan.held >= 16 * plan.pieces * (1 - 1 / small.copied)


def test_a_resumed_run_keeps_its_passes() -> None:
    plan = choose(
        LLAMA_8B, length=2048, effective_batch=16, limit_bytes=80 * GIB, host_limit_bytes=HOST,
        began=Plan(0, micro_batch=2, piece=1),
    )  # fmt: skip
    assert plan is not None
    assert (plan.micro_batch, plan.piece) == (2, 1)


@pytest.mark.parametrize("gib", [5.6, 7, 40])
@pytest.mark.parametrize("tile", [512, 4096])
def test_an_exact_resume_keeps_all_that_rounds(gib: float, tile: int) -> None:
    """More or less memory only decides what is kept and where it waits."""
    began = Plan(3, 7, tile, host_head=True, micro_batch=4, piece=2)
    plan = choose(
        QWEN_7B, length=2048, effective_batch=8, limit_bytes=int(gib * GIB), host_limit_bytes=HOST,
        began=began, exact=True,
    )  # fmt: skip
    assert plan is not None
    assert replace(plan, kept=3, held=7, longest=0, host_embedding=False) == began


def test_deterministic_attention_is_reckoned_with() -> None:
    plan = Plan(0, host_embedding=True, longest=2048)
    more = (
        parts(replace(QWEN_7B, sums=5), plan)["activations"] - parts(QWEN_7B, plan)["activations"]
    )
    assert more == 4 * 2048 * 3584 * 4


def test_a_host_without_memory_has_no_plan() -> None:
    plan = choose(
        LLAMA_8B, length=2048, effective_batch=8, limit_bytes=7 * GIB, host_limit_bytes=GIB // 2
    )
    assert plan is None
    held = Plan(0, held=32, host_embedding=True, micro_batch=2, piece=2, longest=2048)
    assert host_bytes(LLAMA_8B, held) == 128256 * 4096 * 2


QWEN_7B = Dims(
    layers=28, hidden=3584, intermediate=18944, queries=3584, keys=512, vocabulary=152064,
    tied=False, rank=16, heads=28,
)  # fmt: skip
LLAMA2_7B = Dims(
    layers=32, hidden=4096, intermediate=11008, queries=4096, keys=4096, vocabulary=32000,
    tied=False, rank=16, heads=32,
)  # fmt: skip


def for_a_small_card(dims: Dims, gib: float) -> Plan:
    plan = choose(
        dims, length=2048, effective_batch=4, limit_bytes=int(gib * GIB), host_limit_bytes=HOST
    )
    assert plan is not None
    return plan


@pytest.mark.parametrize("dims", [QWEN_7B, LLAMA2_7B])
def test_a_7b_at_2048_tokens_is_planned_within_6_gib(dims: Dims) -> None:
    assert peak_bytes(dims, for_a_small_card(dims, 6)) <= 6 * GIB


def test_the_head_leaves_the_device_only_where_nothing_else_fits() -> None:
    assert for_a_small_card(QWEN_7B, 6).host_head
    assert not for_a_small_card(QWEN_7B, 6.6).host_head
    assert not for_a_small_card(LLAMA2_7B, 6).host_head
    assert "the output head waits in RAM" in for_a_small_card(QWEN_7B, 6).told
    tied = replace(QWEN_7B, tied=True)
    plan = for_a_small_card(tied, 6)
    assert (plan.host_head, plan.host_embedding) == (True, True)
    assert for_a_small_card(tied, 7).host_embedding is False


def test_the_head_costs_the_host_what_it_saves_the_device() -> None:
    table = QWEN_7B.vocabulary * QWEN_7B.hidden * 2
    near = Plan(0, host_embedding=True, longest=2048)
    far = replace(near, host_head=True)
    assert host_bytes(QWEN_7B, far) - host_bytes(QWEN_7B, near) == table
    assert parts(QWEN_7B, near)["embedding and head"] == table
    assert parts(QWEN_7B, far)["embedding and head"] == 0
    tied = replace(QWEN_7B, tied=True)
    both = host_bytes(tied, far) - host_bytes(tied, replace(near, host_embedding=False))
    assert both == table
