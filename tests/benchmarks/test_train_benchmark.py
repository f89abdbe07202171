"""The side-by-side benchmark: its order, its data, and a dry run on a CPU."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
Made = Callable[..., dict[str, Any]]


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
    modules: Any, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        .markdown([made("finetui-fp8", 20000, 6.0), made("unsloth", 10000, 8.0)])
        .splitlines()
    )
    assert any("| finetui-fp8 | 20,000 | 2.00 | 6.00 | 0.75" in line for line in lines)
    assert any(line.startswith("- finetui-fp8 (products in FP8, e4m3)") for line in lines)
    words = ["train.py", "--rows", "8b-2x2048", "--random-base", "--out", "/dev/null",
             "--logs", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    assert modules["asked"].wanted(modules["train"].parse()) == [
        "finetui", "finetui-peft", "finetui-fp8",
    ]  # fmt: skip


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


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [(["measured"], 0), (["measured", "failed"], 1), (["out of memory"], 1)],
)
def test_a_measurement_that_failed_shows_in_the_status(
    modules: Any, made: Made, outcomes: list[str], status: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    results = [
        made("trl", 1, 1, turn=turn, outcome=outcome) for turn, outcome in enumerate(outcomes)
    ]
    words = ["train.py", "--rows", "tiny", "--out", str(tmp_path / "out"), "--models"]
    monkeypatch.setattr(sys, "argv", [*words, str(tmp_path / "models")])
    monkeypatch.setattr(modules["train"], "run", lambda _: results)
    assert modules["train"].main() == status
    again = [*results, *(one | {"outcome": "measured"} for one in results)]
    assert modules["results"].failed(again) == []


@pytest.mark.parametrize(
    ("row", "seconds", "said", "told"),
    [
        ("8b-2x2048", "inf", "it needs a GPU", "can be measured here: above is"),
        ("tiny", "1", "out of", "was measured"),
    ],
)
def test_nothing_is_written_for_what_will_not_run(
    modules: Any, row: str, seconds: str, said: str, told: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = f"--rows {row} --peers finetui --budget-seconds {seconds} --models models".split()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.setattr(modules["train"], "has_gpu", lambda: False)
    course = modules["course"]
    monkeypatch.setattr(course.Course, "_measured", lambda *_: pytest.fail("it runs"))
    monkeypatch.setattr(course.weights, "ready", lambda *_: pytest.fail("weights are written"))
    with pytest.raises(SystemExit, match=f"^nothing {told}") as caught:
        modules["train"].main()
    assert str(caught.value).count("\n") == 0
    assert said in capsys.readouterr().err


def test_rows_that_run_are_measured_beside_one_that_is_skipped(
    modules: Any, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ["--rows", "8b-2x2048,tiny", "--peers", "finetui,unsloth", "--models", "models"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.setattr(modules["train"], "has_gpu", lambda: False)
    course = modules["course"]
    monkeypatch.setattr(course, "measure", lambda row, name, *_: made(name, 1, 1, row=row.name))
    monkeypatch.setattr(course.weights, "ready", lambda *_: True)
    assert modules["train"].main() == 0
    told = capsys.readouterr()
    assert "skipped: 8b-2x2048: it needs a GPU" in told.err
    assert "| finetui | 1 |" in told.out
    words = ["--rows", "tiny", "--peers", "unsloth", "--models", "models"]
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    with pytest.raises(SystemExit, match="nothing can be measured here"):
        modules["train"].main()
    assert "skipped: unsloth: it needs a GPU" in capsys.readouterr().err


def test_what_is_resumed_with_other_settings_is_measured(
    modules: Any, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course, taken = modules["course"], []

    def measured(row: Any, name: str, options: Any, *_: Any) -> Any:
        taken.append(dict(options.set) | options.changes)
        return made(name, 1, 1, row=row.name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(modules["train"], "has_gpu", lambda: False)
    monkeypatch.setattr(course, "measure", measured)
    monkeypatch.setattr(course.weights, "ready", lambda *_: True)
    for more in (
        [], [], ["--set", "train.seed=1", "--set", "memory.limit_gib=7"],
        ["--set", "memory.limit_gib=7", "--set", "train.seed=1"],
        ["--change", "steps=5"], ["--change", "steps=5"],
    ):  # fmt: skip
        words = ["--rows", "tiny", "--peers", "finetui", "--models", "models", "--resume"]
        monkeypatch.setattr(sys, "argv", ["train.py", *words, *more])
        assert modules["train"].main() == 0
    assert taken == [{}, {"train.seed": "1", "memory.limit_gib": "7"}, {"steps": 5}]
    found = modules["results"].read([tmp_path / "training.jsonl"])
    assert [(one["turn"], one["set"], one["changes"]) for one in found] == [
        (1, [], {}), (1, ["train.seed=1", "memory.limit_gib=7"], {}), (1, [], {"steps": 5}),
    ]  # fmt: skip


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


def test_a_search_that_was_cut_off_is_not_taken_for_done(modules: Any, tmp_path: Path) -> None:
    whole = {"row": "longest-24", "entrant": "finetui", "turn": 1, "outcome": "measured"}
    lines = [whole, whole | {"row": "longest-80", "complete": False}]
    out = tmp_path / "results.jsonl"
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = SimpleNamespace(out=out, resume=True, budget_seconds=60)
    assert modules["course"].Course(options, {}, [])._have == {modules["results"].key(whole)}
