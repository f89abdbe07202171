"""The estimate against measured peaks, and what is said beside it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from known_shapes import GIB, LLAMA_1B, LLAMA_8B, QWEN_7B, config, needed

from core.model.memory import estimate
from core.model.room import needed_gib
from core.model.shapes import ModelShape, configured, shape_of


@pytest.mark.parametrize(
    ("model", "batch", "peak_gib"),
    [(LLAMA_8B, 2, 7.53), (LLAMA_8B, 8, 13.31), (LLAMA_1B, 2, 1.85), (QWEN_7B, 2, 7.31)],
)
def test_the_plain_path_is_within_five_percent_of_measured_peaks(
    model: ModelShape, batch: int, peak_gib: float
) -> None:
    # Measured on an H100 with TRL 1.16: bf16 adapters, and a loss whose tile is smaller than ours.
    found = needed(config(per_device_train_batch_size=str(batch)), model, adapter_bytes=2)
    assert (found.allocated - found.loss) / GIB == pytest.approx(peak_gib, rel=0.05)


def test_our_own_measured_run_is_within_two_percent_and_not_above_the_estimate() -> None:
    # docs/measured.md: device memory by NVML, context included.
    found = needed(config(lora_dropout="0.05"), LLAMA_8B)
    assert found.total / GIB == pytest.approx(8.95, rel=0.02)
    assert found.total / GIB > 8.95


def test_the_fused_path_is_reckoned_by_its_plan() -> None:
    # tests/core/model/fast/test_plan.py compares the plan's own figures with measured ones.
    wish = config(**{"train.path": "auto", "memory.limit_gib": "7.4",
                     "gradient_accumulation_steps": "4"})  # fmt: skip
    found = needed(wish, LLAMA_8B)
    assert found.path == "fused"
    assert found.why == "8 sequences a pass in 4 pieces, gate and up computed twice"
    assert 5.8 < found.allocated / GIB < 6
    assert 1.2 < (found.total - found.allocated) / GIB < 1.4


def test_what_cublas_works_in_is_no_weight() -> None:
    wish = {"train.path": "auto", "memory.limit_gib": "12"}
    small, large = (needed(config(**wish, r=rank), LLAMA_8B) for rank in ("16", "64"))
    assert large.weights == small.weights
    assert large.scratch - small.scratch >= GIB // 4


def test_what_is_free_is_planned_with_as_a_run_would() -> None:
    wish = config(**{"train.path": "auto"})
    least, small, large = (
        needed(wish, LLAMA_8B, free_bytes=None if gib is None else gib * GIB)
        for gib in (None, 10, 24)
    )
    assert least.total < small.total <= 9 * GIB < large.total <= 24 * GIB * 0.9
    assert any("this is the least" in note for note in least.notes)
    told = f"{needed_gib(least.total)} GiB would do"
    assert any(told in note for note in large.notes)
    assert not any("would do" in note for note in least.notes)
    assert any("GiB of RAM hold" in note for note in large.notes)
    limited = config(**{"train.path": "auto", "memory.limit_gib": "8"})
    assert needed(limited, LLAMA_8B, free_bytes=24 * GIB).total <= 8 * GIB
    beyond = config(**{"train.path": "auto", "memory.limit_gib": "100"})
    assert needed(beyond, LLAMA_8B, free_bytes=24 * GIB) == large


@pytest.mark.parametrize("model", [LLAMA_8B, LLAMA_1B, QWEN_7B], ids=["8B", "1B", "7B"])
@pytest.mark.parametrize("rank", ["4", "16", "64"])
def test_what_would_do_does(model: ModelShape, rank: str) -> None:
    wish = {"train.path": "auto", "r": rank}
    large = needed(config(**wish), model, free_bytes=79 * GIB)
    (told,) = (note for note in large.notes if "would do" in note)
    limit = told.split(": ")[1].split()[0]
    found = needed(config(**wish, **{"memory.limit_gib": limit}), model, free_bytes=79 * GIB)
    assert found.total <= float(limit) * GIB < found.total + 0.1 * GIB
    assert not any("at the least" in note for note in found.notes)


def test_a_limit_that_cannot_be_kept_is_told() -> None:
    wish = config(**{"train.path": "auto", "memory.limit_gib": "3"})
    found = needed(wish, LLAMA_8B, free_bytes=24 * GIB)
    assert found.total > 3 * GIB
    assert f"memory.limit_gib is 3, and it takes {needed_gib(found.total)} at the least" in (
        found.notes
    )
    plain = needed(config(**{"memory.limit_gib": "3"}), LLAMA_8B)
    assert any("shapes the fused path alone" in note for note in plain.notes)


def test_without_ram_for_the_fused_path_it_is_reckoned_for_peft() -> None:
    wish = config(**{"train.path": "auto"})
    found = needed(wish, LLAMA_8B, free_bytes=7 * GIB, host_bytes=GIB // 8)
    assert found.path == "PEFT"
    assert found.why == (
        "the fused path needs 1.09 GiB of free memory (RAM) of the host at the least, and 0.13 are "
        "free"
    )


def test_more_ram_is_named_where_it_would_do() -> None:
    wish = config(**{"train.path": "auto", "data.max_length": "32768"})
    short = needed(wish, LLAMA_8B, free_bytes=20 * GIB, host_bytes=2 * GIB)
    more = short.more_ram
    assert more is not None
    assert short.total > 20 * GIB * 0.9 >= more.device_bytes
    again = needed(wish, LLAMA_8B, free_bytes=20 * GIB, host_bytes=int(more.needs_bytes * 0.9) + 1)
    assert (again.total, again.more_ram) == (more.device_bytes, None)
    assert 2 * GIB < again.host <= more.needs_bytes
    assert "embedding" in again.in_ram
    none = needed(wish, LLAMA_8B, free_bytes=3 * GIB, host_bytes=2 * GIB)
    assert none.more_ram is None


def test_parts_follow_the_settings() -> None:
    plain = needed(config(), LLAMA_8B)
    assert needed(config(r="32"), LLAMA_8B).adapter == 2 * plain.adapter
    assert needed(config(), LLAMA_8B, adapter_bytes=2).gradients * 2 == plain.gradients
    assert needed(config(lora_dropout="0.1"), LLAMA_8B).layer > plain.layer
    assert needed(config(**{"data.packing": "yes"}), LLAMA_8B).layer > plain.layer
    assert needed(config(attn_implementation="eager"), LLAMA_8B).layer > plain.layer
    assert needed(config(optim="adamw_torch"), LLAMA_8B).optimizer == 2 * plain.adapter
    some = needed(config(target_modules="q_proj,v_proj"), LLAMA_8B)
    assert some.adapter == 4 * 32 * 16 * (4096 + 4096 + 4096 + 1024)
    assert some.layer < plain.layer
    kept = needed(config(activation_checkpointing="no"), LLAMA_8B)
    assert kept.total > 2 * plain.total
    eight = needed(config(load_in_4bit="no", load_in_8bit="yes"), LLAMA_8B)
    sixteen = needed(config(load_in_4bit="no"), LLAMA_8B)
    assert 1.9 < eight.weights / plain.weights < 2
    assert 1.9 < sixteen.weights / eight.weights < 2.01
    assert sixteen.scratch == 0
    assert needed(config(), LLAMA_1B).head == 0
    assert needed(config(), replace(LLAMA_8B, architecture="Qwen3ForCausalLM")).layer > plain.layer
    assert needed(config(use_dora="yes"), LLAMA_8B).adapter > plain.adapter


def test_the_sum_of_the_parts_is_the_total() -> None:
    found = needed(config(), QWEN_7B)
    assert found.total == sum(found.parts.values()) == found.allocated + found.context
    assert set(found.parts) == {
        "weights", "head", "embedding", "adapter", "gradients", "optimizer", "activations",
        "layer", "loss", "scratch", "context",
    }  # fmt: skip
    assert needed(config(), QWEN_7B, gpu=False).context == 0


def test_too_little_known_is_said() -> None:
    assert estimate(config(), replace(LLAMA_8B, hidden_size=None)) is None
    assert any("not here" in note for note in needed(config(), LLAMA_8B).notes)
    vague = replace(LLAMA_8B, intermediate_size=None, experts=8)
    notes = needed(config(), vague).notes
    assert any("experts" in note for note in notes)
    assert any("does not name all sizes" in note for note in notes)


def test_targets_that_a_model_lacks_are_told(tiny_model: Path) -> None:
    wish, shape = config(target_modules="q_prj"), shape_of(str(tiny_model))
    found = needed(wish, shape)
    assert "did you mean q_proj" in found.refused
    assert not any("q_prj" in note for note in found.notes)
    without = configured(str(tiny_model))
    assert needed(wish, without).refused == found.refused
    assert needed(wish, replace(without, architecture="XForCausalLM")).refused == ""
    assert needed(config(target_modules="q_proj"), without).refused == ""


def test_rows_longer_than_the_model_reads_are_told() -> None:
    def told(context: int | None) -> bool:
        found = needed(config(), replace(LLAMA_8B, context_length=context))
        return any("data.max_length is 2,048" in note for note in found.notes)

    assert told(2047)
    assert not told(2048)
    assert not told(None)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\nimport core.model.fits, core.model.memory\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True).returncode == 0
