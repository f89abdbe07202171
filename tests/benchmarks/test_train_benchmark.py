"""The side-by-side benchmark: its table, its order, its data, and a dry run on a CPU."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's own modules, as its processes import them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import train
    from peers import context, course, shapes, table, tokens

    return {
        "train": train, "table": table, "tokens": tokens, "shapes": shapes, "context": context,
        "course": course,
    }  # fmt: skip


def result(entrant: str, rate: float, peak: float, **more: Any) -> dict[str, Any]:
    return {
        "row": "8b-2x2048", "entrant": entrant, "outcome": "measured", "tokens_per_second": rate,
        "peak_allocated_gib": peak, "first_step_seconds": 1.0, "card": "H100", **more,
    }  # fmt: skip


def test_ratios_are_to_the_best_variant_of_unsloth(modules: Any) -> None:
    results = [
        result("finetui", 15000, 6.0), result("unsloth", 9000, 7.0), result("trl", 30000, 7.0),
        result("unsloth-padded", 10000, 8.0), result("finetui", 14000, 6.0),
        {"row": "8b-2x2048", "entrant": "axolotl", "outcome": "failed", "error": "a | b"},
    ]  # fmt: skip
    lines = modules["table"].markdown(results).splitlines()
    ours = next(line for line in lines if "| finetui |" in line)
    assert "14,500 (14,000-15,000) | 1.45 | 6.00 | 0.75" in ours
    assert any("failed: a / b" in line for line in lines)
    assert "Card: H100." in lines


def test_what_was_changed_or_noted_sets_a_measurement_apart(modules: Any) -> None:
    results = [
        result("finetui", 15000, 6.0, versions={"transformers": "5.17.0"}),
        result("unsloth", 10000, 8.0, set=[]),
        result("finetui", 12000, 6.0, note="the version before"),
        result("finetui", 11000, 6.0, set=["train.path=peft"]),
        result("finetui", 20000, 6.0, changes={"random_base": True, "length": 2048},
               versions={"transformers": "5.23.0"}),
    ]  # fmt: skip
    table = modules["table"].markdown(results)
    what = "| Llama-3.1-8B, 2 x 2048"
    assert f"{what} | finetui | 15,000 | 1.50 |" in table
    assert f"{what} | finetui (the version before) | 12,000 | 1.20 |" in table
    assert f"{what} | finetui (train.path=peft) | 11,000 | 1.10 |" in table
    assert f"{what}, random_base True | finetui | 20,000 |  |" in table
    assert "transformers 5.17.0 and 5.23.0" in table


def test_a_line_cut_short_is_left_out(modules: Any, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text(json.dumps(result("trl", 1, 1)) + '\n{"row": "8b', encoding="utf-8")
    assert [one["entrant"] for one in modules["table"].read([file])] == ["trl"]


def test_the_order_alternates_and_ends_with_the_first(modules: Any) -> None:
    row = modules["shapes"].ROWS["8b-2x2048"]
    assert modules["course"].order(row, ["a", "b", "c"], 2) == ["a", "b", "c", "c", "b", "a", "a"]
    assert modules["course"].order(row, ["a"], 1) == ["a"]


def test_weights_that_cannot_be_written_are_told(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny").write_text("no folder")
    monkeypatch.setattr(sys, "argv", ["train.py", "--rows", "tiny", "--peers", "finetui",
                                      "--models", str(tmp_path), "--logs", str(tmp_path),
                                      "--out", str(tmp_path / "out.jsonl")])  # fmt: skip
    with pytest.raises(SystemExit, match=f"weights of tiny were not written to {tmp_path}"):
        modules["train"].main()


def test_rows_name_known_models_and_entrants(modules: Any) -> None:
    shapes = modules["shapes"]
    for row in shapes.ROWS.values():
        assert row.model in shapes.MODELS
        assert set(row.entrants) <= set(shapes.ENTRANTS)
        assert row.search or row.steps > row.warm_up
        if row.random_base:
            assert all(shapes.ENTRANTS[name].peer == "finetui" for name in row.entrants)


def test_fp8_is_an_entrant_of_its_own_where_there_is_a_gpu(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peers import finetui

    shapes, row = modules["shapes"], modules["shapes"].ROWS["8b-2x2048"]
    options = shapes.ENTRANTS["finetui-fp8"].options
    assert finetui.settings(row, options, tmp_path, "cuda")["train.fp8"] == "true"
    assert "train.fp8" not in finetui.settings(row, {}, tmp_path, "cuda")
    assert "finetui-fp8" in row.entrants
    assert not any("finetui-fp8" in one.entrants for one in shapes.ROWS.values() if shapes.dry(one))
    lines = (
        modules["table"]
        .markdown([result("finetui-fp8", 20000, 6.0), result("unsloth", 10000, 8.0)])
        .splitlines()
    )
    assert any("| finetui-fp8 | 20,000 | 2.00 | 6.00 | 0.75" in line for line in lines)
    assert any(line.startswith("- finetui-fp8 (products in FP8, e4m3)") for line in lines)
    words = ["train.py", "--rows", "8b-2x2048", "--random-base", "--out", "/dev/null",
             "--logs", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    assert modules["train"]._wanted(modules["train"].parse()) == [
        "finetui", "finetui-peft", "finetui-fp8",
    ]  # fmt: skip


def test_a_group_stands_for_its_rows(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    groups, rows = modules["shapes"].GROUPS, modules["shapes"].ROWS
    assert all(set(names) <= set(rows) for names in groups.values())
    monkeypatch.setattr(sys, "argv", ["train.py", "--rows", "6gib,llama2-7b-6gib,longest-24",
                                      "--out", "/dev/null", "--logs", "/tmp"])  # fmt: skip
    names = [row.name for row in modules["train"].parse().rows]
    assert names == ["qwen25-7b-6gib", "llama2-7b-6gib", "longest-24"]


@pytest.mark.parametrize("name", ["tiny", "tiny-packed"])
def test_everybody_gets_the_same_tokens(modules: Any, name: str) -> None:
    row = modules["shapes"].ROWS[name]
    first, again = (modules["tokens"].documents(row, 512) for _ in range(2))
    assert first == again
    wanted = row.batch * row.accumulation * row.steps * row.length
    assert sum(map(len, first)) >= wanted
    assert {document[-1] for document in first} == {modules["tokens"].EOS}
    words = modules["tokens"].as_text(first[0]).split()
    assert [int(word[1:]) for word in words[:-1]] == first[0][:-1]


def test_a_search_goes_to_what_is_planned_and_on_from_there(
    modules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    row = modules["shapes"].ROWS["longest-24"]
    search = modules["context"]._Search(row, {"tell": lambda _: None}, Path(), float("inf"))
    limit = 100_000
    tried: list[int] = []

    def step(length: int) -> Any:
        tried.append(length)
        if length > limit:
            raise torch.OutOfMemoryError("full")
        pinning = modules["context"].Pinning()
        return modules["context"].Tried(0.5, 5.0, 5 + length / 10_000, pinning)

    monkeypatch.setattr(search, "_step", step)
    assert search.attempt(16384)
    search.narrow(97_024)
    figures = search.figures()
    assert 0.97 * limit <= figures["longest_length"] <= limit
    assert limit < figures["shortest_too_long"] < 1.05 * limit
    assert len(tried) < 8


def test_pinning_is_told_apart_from_the_step_that_waits_for_it(
    modules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from core.model.fast import stash

    context = modules["context"]
    clock = iter([10.0, 12.5, 20.0, 21.5])
    monkeypatch.setattr(context.time, "perf_counter", lambda: next(clock))
    pin = lambda *shape, dtype: torch.empty(shape, dtype=dtype)  # noqa: E731
    monkeypatch.setattr(stash, "pinned", pin)
    pinning = context.Pinning()
    with pinning.counted():
        for _ in range(2):
            assert stash.pinned(1 << 29, dtype=torch.bfloat16).shape == (1 << 29,)
    assert stash.pinned is pin
    facts = {"path": "fused", "guards": ["skipped"], "load_seconds": 4.0}
    figures = context._figures(349_440, context.Tried(404.0, 69.0, 70.0, pinning, facts))
    assert figures["step_seconds"] == 404
    assert figures["pinning_seconds"] == 4
    assert figures["pinned_gib"] == 2
    assert (figures["path"], figures["guards"]) == ("fused", ["skipped"])
    assert figures["tokens_per_second"] == pytest.approx(349_440 / 400, abs=0.1)


def test_what_is_found_is_kept_before_the_next_length_is_tried(
    modules: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sign, place = modules["shapes"].SIGN, tmp_path / "longest-80-finetui.json"

    def lines() -> Iterator[str]:
        yield "a library says something\n"
        yield sign + json.dumps({"longest_length": 4096, "complete": False}) + "\n"
        assert json.loads(place.read_text())["longest_length"] == 4096
        assert "4096" in capsys.readouterr().err
        yield sign + json.dumps({"longest_length": 349_440}) + "\n"

    said = modules["course"]._said(lines(), place)
    assert len(said) == 2
    assert json.loads(place.read_text())["longest_length"] == 349_440
    assert not capsys.readouterr().err


def test_the_longest_sequence_is_planned_within_both_memories(modules: Any) -> None:
    row, planned = modules["shapes"].ROWS["longest-24"], modules["context"].planned
    gib = 1 << 30
    ample, scarce, small = (
        planned(row, int(device * gib), host * gib)
        for device, host in ((23.5, 500), (23.5, 64), (10, 500))
    )
    assert ample > 60_000
    assert scarce < ample
    assert small < ample
    assert ample % 256 == 0


def test_four_layers_try_what_all_would_in_little_memory_of_the_host(modules: Any) -> None:
    shapes, planned = modules["shapes"], modules["context"].planned
    gib = 1 << 30
    few, all_ = shapes.ROWS["longest-4-layers"], shapes.ROWS["longest-80"]
    assert planned(few, 79 * gib, 40 * gib) > planned(all_, 79 * gib, 460 * gib) > 349_440
    layers, whole = shapes.MODELS[few.model], shapes.MODELS[all_.model]
    assert layers == whole | {"num_hidden_layers": 4}
    assert few.name not in shapes.GROUPS["all"]
    assert all_.name in shapes.GROUPS["all"]


def test_packed_rows_are_as_many_as_the_steps_take(modules: Any) -> None:
    from peers import finetui

    row = modules["shapes"].ROWS["tiny-packed"]
    rows = finetui.sequences(row, modules["tokens"].documents(row, 512))
    assert len(rows) == row.batch * row.accumulation * row.steps
    assert max(len(one["input_ids"]) for one in rows) <= row.length
    assert any(one["position_ids"].count(0) > 1 for one in rows)


@pytest.mark.trains
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--rows tiny --change steps=many", "no value in JSON"),
        ("--rows tiny --change speed=1", "a workload has no speed"),
        ("--rows tiny --set train.path", "NAME=VALUE"),
        ("--rows tinny", "unknown: tinny"),
        ("--table nowhere.jsonl", "there is no nowhere.jsonl"),
        ("--rows tiny --lengths a,b", "argument --lengths: 'a' is no whole number"),
        ("--rows tiny --gpus 0", "argument --gpus: 0 is less than 1"),
        ("--rows tiny --rounds 0", "argument --rounds: 0 is less than 1"),
        ("--rows tiny --budget-seconds nan", "argument --budget-seconds: 'nan' is no time"),
        ("--rows tiny --run-seconds -1", "argument --run-seconds: '-1' is no time from 0 on"),
        ("--rows tiny --python-path nope=/x", "--python-path nope: give one of finetui,"),
        ("--rows tiny,tiny-context --lengths 64", "--lengths: tiny searches for no length"),
        ("--rows tiny --env foo", "--env foo: give NAME:KEY=VALUE"),
        ("--rows tiny --env trl:KEY", "--env trl:KEY: give NAME:KEY=VALUE"),
        ("--rows tiny --env nobody:KEY=1", "the name being an entrant or all"),
        ("--rows tiny --change steps=0", "--change steps=0: give a whole number from 1 on"),
        ("--rows tiny --change steps=2", "tiny: of 2 steps none is timed after a warm-up of 2"),
        ("--rows tiny --change batch=true", "--change batch=true: give a whole number from 1 on"),
        ("--rows tiny --change dropout=1", "give a number from 0 to below 1"),
        ("--rows tiny --change mixed=1", "give true or false"),
        ("--rows tiny --change device_gib=0", "give a number above 0, or null"),
        ('--rows tiny --change model="gpt"', "give one of llama31-8b,"),
        ("--rows tiny --change settings=[]", "give settings and their values"),
        ('--rows tiny --change name="x"', "a workload has no name"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    modules: Any, arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments.split()])
    with pytest.raises(SystemExit):
        modules["train"].parse()
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"entrant": "trl", "outcome": "failed"}', "line 2, is no result of a measurement"),
        (b"[1]", "line 2, is no result of a measurement"), (b"\xff\x00", "is no text"),
    ],
)  # fmt: skip
def test_a_table_of_other_things_is_told(
    modules: Any, line: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "results.jsonl"
    file.write_bytes(json.dumps(result("trl", 1, 1)).encode() + b"\n" + line + b"\n")
    monkeypatch.setattr(sys, "argv", ["train.py", "--table", str(file)])
    with pytest.raises(SystemExit, match=said):
        modules["train"].main()


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [(["measured"], 0), (["measured", "failed"], 1), (["out of memory"], 1), ([], 0)],
)
def test_a_measurement_that_failed_shows_in_the_status(
    modules: Any, outcomes: list[str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [
        result("trl", 1, 1, turn=turn, outcome=outcome) for turn, outcome in enumerate(outcomes)
    ]
    words = ["train.py", "--rows", "tiny", "--out", str(tmp_path / "out"), "--models"]
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path / "models")])
    monkeypatch.setattr(modules["train"], "run", lambda _: results)
    assert modules["train"].main() == status
    again = [*results, *(one | {"outcome": "measured"} for one in results)]
    assert modules["train"].failed(again) == []


def test_what_was_measured_is_shown_where_a_figure_is_missing(modules: Any) -> None:
    bare = {"row": "8b-2x2048", "entrant": "trl", "outcome": "measured"}
    lines = modules["table"].markdown([bare]).splitlines()
    assert lines[2] == "| Llama-3.1-8B, 2 x 2048 | trl |  |  |  |  |  |  |  |"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--layers 0", "argument --layers: 0 is less than 1"),
        ("--tokens 5", "argument --tokens: 5 is less than 64"),
        ("--tokens -4", "argument --tokens: -4 is less than 64"),
        ("--tokens many", "argument --tokens: 'many' is no whole number"),
    ],
)
def test_gradients_need_a_layer_and_documents_of_some_tokens(
    arguments: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gradients

    monkeypatch.setattr(gradients, "compare", lambda *_: pytest.fail("it begins"))
    monkeypatch.setattr(sys, "argv", ["gradients.py", "tiny", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        gradients.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(said)


@pytest.mark.parametrize(
    ("row", "seconds", "said"), [("8b-2x2048", "inf", "it needs a GPU"), ("tiny", "1", "out of")]
)
def test_nothing_is_written_for_what_will_not_run(
    modules: Any, row: str, seconds: str, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = f"--rows {row} --peers finetui --budget-seconds {seconds} --models models".split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.setattr(modules["train"], "has_gpu", lambda: False)
    course = modules["course"]
    monkeypatch.setattr(course.Course, "_measured", lambda *_: pytest.fail("it runs"))
    monkeypatch.setattr(course.weights, "ready", lambda *_: pytest.fail("weights are written"))
    assert modules["train"].run(modules["train"].parse()) == []
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seen", "baseline"), [([None], None), ([0], 0), ([9, 9], 9), ([9, 6, 4, 4], 4), ([5, 7], 7)]
)
def test_a_measurement_waits_for_memory_that_others_let_go_of(
    modules: Any, seen: list[int | None], baseline: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules["course"], "_LOOK_SECONDS", 0)
    answers = iter(seen)
    card = SimpleNamespace(used_bytes=lambda: next(answers))
    assert modules["course"]._settled(card) == baseline
    assert list(answers) == []


def test_several_gpus_take_a_row_each_and_searches_come_last_and_alone(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course, shapes = modules["course"], modules["shapes"]
    ran: list[tuple[str, str, str]] = []
    together = threading.Barrier(2, timeout=20)

    def measured(row: Any, name: str, options: Any, env: Any, peak: Any, seconds: float) -> Any:
        if name == "finetui" and row.name in ("tiny", "tiny-packed"):
            together.wait()  # two rows run at the same time
        ran.append((row.name, name, env.get("CUDA_VISIBLE_DEVICES", "")))
        return {"row": row.name, "entrant": name, "outcome": "measured", "tokens_per_second": 1.0}

    monkeypatch.setattr(course, "measure", measured)
    monkeypatch.setattr(course.weights, "ready", lambda *_: True)
    words = ["train.py", "--rows", "tiny-context,tiny,tiny-packed", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", words)
    options = modules["train"].parse()
    peak = SimpleNamespace(used_bytes=lambda: 0)
    places = [course.Card(peak, "0"), course.Card(peak, "1")]
    entrants = ["finetui", "trl"]
    envs = {name: {"PATH": ""} for name in entrants}
    rows = [shapes.ROWS[name] for name in ("tiny-context", "tiny", "tiny-packed")]
    rows[2] = dataclasses.replace(rows[2], entrants=("finetui",))
    course.Course(options, envs, entrants).run(rows, places)
    assert ran[-1] == ("tiny-context", "finetui", "0")
    assert sorted((row, name) for row, name, _ in ran) == [
        ("tiny", "finetui"), ("tiny", "trl"), ("tiny-context", "finetui"),
        ("tiny-packed", "finetui"),
    ]  # fmt: skip
    gpus = {row: {gpu for one, _, gpu in ran if one == row} for row, _, _ in ran}
    assert gpus["tiny"] != gpus["tiny-packed"]
    assert all(len(used) == 1 for used in gpus.values())
    assert len((tmp_path / "out").read_text().splitlines()) == len(ran)


def test_a_dry_run_measures_and_prints_a_table(tmp_path: Path) -> None:
    command = [
        sys.executable, str(BENCHMARKS / "train.py"), "--rows", "tiny-random", "--change",
        "steps=2", "--out", str(tmp_path / "out.jsonl"), "--models", str(tmp_path / "models"),
    ]  # fmt: skip
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    (line,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads(line)
    assert found["outcome"] == "measured", done.stderr
    assert found["tokens_per_step"] == 256
    assert list(found["losses"]) == ["1", "2"]
    assert found["adapter_dtype"] == "float32"
    assert "| finetui |" in done.stdout


def test_gaps_are_when_nothing_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profile_step as profile

    launches = [
        profile.Launch(0, 10, "gemm"), profile.Launch(2, 30, "Memcpy DtoH"),
        profile.Launch(5, 12, "norm"), profile.Launch(20, 21, "gemm"),
    ]  # fmt: skip
    assert profile.gaps(launches) == [profile.Gap(12, "norm", launches[3])]
    assert profile.gaps(launches)[0].length == 8
    report = profile.told(launches, 2)
    assert "the GPU computes in" in report
    assert "Memcpy DtoH" in report
    kinds = ("_fwd_kernel_flash", "nvjet_tst_128x256", "swiglu_backward_kernel", "memset")
    assert [profile._kind(name) for name in kinds] == ["attention", "products", "SwiGLU", "other"]
    assert report.endswith("| gaps | 0.0 |")


def test_a_setting_without_a_value_is_told_by_the_profile(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profile_step as profile

    monkeypatch.setattr(sys, "argv", ["profile_step", "tiny", "--set", "train.fp8"])
    with pytest.raises(SystemExit):
        profile.main()
    assert "'train.fp8': give a name and a value" in capsys.readouterr().err.splitlines()[-1]


def test_kernels_in_fp8_count_as_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profile_step as profile

    kinds = {
        "nvjet_sm90_qqtst_128x256_128x4_2x1_v_bz_coopA_TNT": "products",
        "quantize_kernel": "rounding to FP8",
        "scale_rows_kernel": "rounding to FP8",
        "expand_kernel": "dequantization",
        "adapters_kernel": "dequantization",
        "dequantize_blockwise": "other",
        "Memcpy DtoH (Device -> Pinned)": "copies to and from the host",
    }
    assert {name: profile._kind(name) for name in kinds} == kinds


@pytest.mark.trains
def test_gradients_of_both_paths_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gradients

    shape, fused, peft = gradients.compare("tiny", 2, 128)
    assert shape == "tiny"
    cosines = [float(part) for cell in (fused, peft) for part in cell.split("; ")]
    # Without a GPU all three are computed in fp32, and nothing in FP8.
    assert len(cosines) == 4
    assert min(cosines) > 0.99999
    monkeypatch.setattr(gradients, "FP8", True)
    assert list(gradients.paths().values()) == ["fused", "PEFT with autocast", "fused in FP8"]
    cosines = [float(part) for part in gradients.compare("tiny", 2, 128)[3].split("; ")]
    # The twins round to FP8 on a CPU as well.
    assert len(cosines) == 2
    assert 0.9 < min(cosines) < max(cosines) < 0.9999


def test_a_search_that_was_cut_off_is_not_taken_for_done(modules: Any, tmp_path: Path) -> None:
    whole = {"row": "longest-24", "entrant": "finetui", "turn": 1, "outcome": "measured"}
    lines = [whole, whole | {"row": "longest-80", "complete": False}]
    out = tmp_path / "results.jsonl"
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = SimpleNamespace(out=out, resume=True, budget_seconds=60)
    assert modules["course"].Course(options, {}, [])._have == {("longest-24", "finetui", 1)}
