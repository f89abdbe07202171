"""runs and show; merge, generate, prepare and inspect; the doctor's page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_events import (
    COMPARED,
    FAILED,
    FINISHED,
    MERGED,
    PREPARED,
    STARTED,
    sample,
    step,
)
from stand_in import FakeLink, Said

from core.config import files
from core.config.schema import RunConfig
from core.data.overlay import Overlay
from core.data.read.sources import read_rows
from core.monitor.doctor import Finding
from core.record import events as ev
from core.record.folder import RunFolder

Call = Callable[..., Said]
Make = Callable[..., RunFolder]
DONE = (ev.JobStarted(job="train"), STARTED, step(1), step(2, float("nan")), FINISHED)


def test_runs_are_listed(call: Call, make_run: Make) -> None:
    assert "there are no runs" in call("runs").out
    assert call("runs", "--json").document["runs"] == []
    make_run("one", *DONE)
    make_run("two", ev.JobStarted(job="train"), FAILED)
    said = call("runs")
    assert said.code == 0
    assert {line.split()[0] for line in said.out.splitlines()} == {"run", "one", "two"}
    runs = call("runs", "--json").document["runs"]
    assert {(run["run"], run["status"]) for run in runs} == {("one", "finished"), ("two", "failed")}
    assert {run["loss"] for run in runs} == {"NaN", None}


def test_runs_of_another_root(call: Call, make_run: Make, tmp_path: Path) -> None:
    make_run("one", *DONE)
    assert call("runs", "--runs", tmp_path / "other", "--json").document["runs"] == []


def test_show_tells_where_a_run_stands(call: Call, make_run: Make) -> None:
    make_run("one", *DONE, MERGED, COMPARED)
    said = call("show", "one")
    assert said.code == 0
    assert "one: finished" in said.out
    assert "step        2 of 2" in said.out
    assert "base 3, merged 48 of 50" in said.out
    state = call("show", "one", "--json").document["state"]
    assert state["merged"]["serve_command"] == "vllm serve /m"
    make_run("two", ev.JobStarted(job="train"), FAILED)
    assert "lower data.max_length" in call("show", "two").out


def test_show_tells_that_a_run_trained_in_fp8(call: Call, make_run: Make) -> None:
    loaded = ev.ModelLoaded(
        name="m", parameters=8_000_000_000, trainable=42_000_000, quantization="NF4",
        compute_dtype="bfloat16", device="cuda:0", path="fused", why="told", seconds=1.0, fp8=True,
    )  # fmt: skip
    make_run("one", ev.JobStarted(job="train"), loaded, FINISHED)
    assert "m, NF4, products in FP8, trains 42.0M of 8.0B" in call("show", "one").out
    assert "fused: told" in call("show", "one").out
    assert call("show", "one", "--json").document["state"]["model"]["fp8"] is True


def test_merge_says_where_the_model_is(call: Call, fake: type[FakeLink], make_run: Make) -> None:
    make_run("one", *DONE)
    fake.script = [MERGED, COMPARED, ev.JobFinished(job="merge")]
    said = call("merge", "one")
    assert said.code == 0
    assert fake.launched == [("merge", {})]
    assert "/m (7.0 MB)" in said.out
    assert "vllm serve /m" in said.out
    assert "base 3, merged 48" in said.out
    document = call("merge", "one", "--json").document
    assert document["merged"]["path"] == "/m"
    assert document["compared"]["merged_matches"] == 48


def test_a_merge_that_fails(call: Call, fake: type[FakeLink], make_run: Make) -> None:
    make_run("one", *DONE)
    fake.script = [ev.JobFailed(job="merge", kind="disk_full", message="The disk is full")]
    said = call("merge", "one", "--json")
    assert (said.code, said.out) == (1, "")
    assert "The disk is full" in said.err


def test_ctrl_c_aborts_a_merge(call: Call, fake: type[FakeLink], make_run: Make) -> None:
    make_run("one", *DONE)
    fake.script = [KeyboardInterrupt()]
    fake.on_send = {"Abort": [ev.JobStopped(job="merge", step=0, reason="aborted")]}
    assert (call("merge", "one").code, fake.sent) == (130, ["Abort"])


def test_generate_prints_only_the_answers(call: Call, fake: type[FakeLink], make_run: Make) -> None:
    make_run("one", *DONE)
    fake.script = [sample("adapter", "Yes.\nReally."), ev.JobFinished(job="generate")]
    said = call(
        "generate", "one", "--prompt", "So?", "--max-new-tokens", "9", "--models", "adapter"
    )
    assert (said.code, said.out) == (0, "Yes.\nReally.\n")
    params = {"prompt": "So?", "max_new_tokens": "9", "models": "adapter"}
    assert fake.launched == [("generate", params)]
    fake.script = [sample("base", "a"), sample("merged", "b"), ev.JobFinished(job="generate")]
    assert call("generate", "one", "--prompt", "So?").out == "base:\na\nmerged:\nb\n"
    answers = call("generate", "one", "--prompt", "So?", "--json").document["answers"]
    assert [answer["text"] for answer in answers] == ["a", "b"]


def test_generate_refuses_an_answer_of_no_length(
    call: Call, fake: type[FakeLink], make_run: Make
) -> None:
    make_run("one", *DONE)
    assert call("generate", "one", "--prompt", "x", "--max-new-tokens", "0").code == 2
    assert fake.launched == []


def test_prepare_freezes_without_training(
    call: Call, fake: type[FakeLink], flags: list[str]
) -> None:
    fake.script = [PREPARED, ev.JobFinished(job="prepare")]
    said = call("prepare", *flags, "--run.name", "mine")
    assert (said.code, fake.launched) == (0, [("prepare", {})])
    assert "10 rows read, 8 to train, 1 held out, 1 rejected" in said.out
    said = call("prepare", *flags, "--run.name", "other", "--json")
    assert said.document["data"]["kept"] == 9


def test_a_preparation_that_froze_nothing_is_begun_anew(
    call: Call, fake: type[FakeLink], flags: list[str]
) -> None:
    words = ("prepare", *flags, "--run.name", "mine")
    fake.script = [ev.JobStopped(job="prepare", step=0, reason="aborted")]
    said = call(*words)
    assert "finetui resume" not in said.err
    assert f"prepare it anew: finetui prepare {Path('runs/mine/run.toml').absolute()}" in said.err
    fake.script = [PREPARED, ev.JobFinished(job="prepare", result={})]
    for again in (words, ("prepare", "runs/mine/run.toml")):
        said = call(*again)
        assert (said.code, "10 rows read" in said.out) == (0, True)
    assert fake.launched == [("prepare", {})] * 3
    said = call(*words, "--data.max_length", "64")
    assert said.code == 3
    Path("runs/mine/data").mkdir()
    said = call(*words)
    assert (said.code, "finetui resume mine" in said.err) == (3, True)


def test_inspect_takes_its_data_once(call: Call, rows: Path) -> None:
    for flag in ("--data.files", "--files", "--data"):
        said = call("inspect", rows, flag, "other.jsonl")
        assert said.code == 2
        assert f"the data is named twice: {rows}, and {flag} other.jsonl" in said.err
    assert "a name of data is empty" in call("inspect", "").err
    assert r'bad\xff.jsonl"], which is not UTF-8' in call("inspect", "bad\udcff.jsonl").err
    smile = rows.with_name("\U0001f600.jsonl")
    rows.rename(smile)
    assert "3 rows read" in call("inspect", smile).out


def test_inspect_accounts_for_every_row(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text(
        '{"instruction": "a", "output": "b"}\n\n{"instruction": "a", "output": "b"}\n{"broken\n'
        '{"instruction": "\x1b[2J", "output": ""}\n',
        encoding="utf-8",
    )
    document = call("inspect", path, "--json").document
    assert (document["read"], document["kept"]) == (4, 1)
    assert sum(document["rejected"].values()) == 3
    assert document["problems"][0]["line"] == 3
    said = call("inspect", path)
    assert said.code == 0
    assert "4 rows read = 1 kept + 3 rejected" in said.out
    assert "\x1b" not in said.out
    assert f"{path}:4: not_json" in said.out


def test_inspect_tells_of_decisions_that_a_run_would_refuse(call: Call, tmp_path: Path) -> None:
    path, overlay = tmp_path / "rows.jsonl", tmp_path / "rows.overlay"
    lines = [f'{{"prompt": "question {n}", "completion": "answer {n}"}}' for n in range(4)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = call("inspect", path, "--data.overlay", overlay)
    assert said.code == 2
    assert "there is no file" in said.err
    decided = Overlay(overlay)
    decided.drop(list(read_rows([path]))[2])
    assert call("inspect", path, "--json", "--data.overlay", overlay).document["kept"] == 3
    said = call("inspect", path)  # beside the data, and not named
    assert f"not taken: {overlay} has 1 row dropped by hand" in said.err
    assert "4 rows read = 4 kept" in said.out
    path.write_text("\n".join(lines[:2] + lines[3:]) + "\n", encoding="utf-8")
    said = call("inspect", path, "--data.overlay", overlay)
    assert said.code == 2
    assert "1 of 1 decision" in said.err
    assert "3 rows read = 3 kept" in said.out
    out = tmp_path / "out.jsonl"
    said = call("inspect", path, "--data.overlay", overlay, "--write", out)
    assert (said.code, out.exists()) == (2, False)
    assert f"{out} was not written" in said.err


def test_inspect_minds_decisions_about_evaluation_files(call: Call, tmp_path: Path) -> None:
    path, held, overlay = (tmp_path / name for name in ("own.jsonl", "held.jsonl", "own.overlay"))
    rows = [json.dumps({"prompt": f"q {n}", "completion": f"a {n}"}) for n in range(6)]
    path.write_text("\n".join(rows[:3]), encoding="utf-8")
    held.write_text("\n".join(rows[3:]), encoding="utf-8")
    Overlay(overlay).drop(next(iter(read_rows([held]))))
    words = ("inspect", path, "--data.eval_files", held, "--data.overlay", overlay)
    assert call(*words).code == 0
    held.write_text("\n".join(rows[4:]), encoding="utf-8")
    assert "1 of 1 decision" in call(*words).err


def test_inspect_takes_the_settings_of_data_and_cleaning(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    row = {"Frage": "<p>q</p>", "Antwort": "a"}
    lines = [json.dumps(row | {"Antwort": f"answer {n}"}) for n in range(3)] + [json.dumps(row)]
    path.write_text("\n".join(lines), encoding="utf-8")
    settings = [
        "--data.columns", "prompt=Frage, completion=Antwort", "--clean.html",
        "--clean.min_answer_chars", "3",
    ]  # fmt: skip
    document = call("inspect", path, "--json", *settings).document
    assert document["rejected"] == {"too_short": 1}
    assert document["notes"] == {"html": 3}
    assert document["sources"][0]["found"].startswith("JSON lines")
    assert document["statistics"]["roles"] == {"user": 3, "assistant": 3}
    assert document["statistics"]["training"]["steps"] is None
    assert "few" in document["verdict"][0]["text"]
    assert len(document["fingerprint"]["sha256"]) == 64
    out = tmp_path / "clean.jsonl"
    said = call("inspect", path, "--write", out, *settings)
    assert said.code == 0
    assert "3 rows written" in said.err
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows[0]["messages"][0]["content"] == "q"
    again = call("inspect", out, "--json", *settings[2:]).document
    assert again["fingerprint"] == document["fingerprint"]
    assert call("inspect", path, "--write", out, *settings).code == 3


def test_inspect_tells_time_from_a_run_that_trained_so(
    call: Call, tmp_path: Path, make_run: Make
) -> None:
    model = str(Path(__file__).parents[3] / "sample_data" / "tiny-llama")
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"q {n}", "completion": f"a {n}"} for n in range(50)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = ("inspect", path, "--model", model)
    assert "time: unknown until a run with these settings" in call(*words).out
    worker = ev.WorkerStarted(pid=1, engine_host="process", device="Some GPU")
    run = make_run("before", worker, *(step(number) for number in range(1, 30)))
    same = RunConfig.model_validate({"model": {"name_or_path": model}})
    run.config.write_text(files.dump(same), encoding="utf-8")
    said = call(*words).out
    assert "for the steps at 200 tokens/s, as before did on Some GPU" in said
    training = call(*words, "--json").document["statistics"]["training"]
    tokens = training["tokens_an_epoch"] * training["steps"] / training["steps_an_epoch"]
    assert training["seconds"] == pytest.approx(tokens / 200)
    assert training["measured"]["steps"] == 26


def test_rows_beyond_every_length_are_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(Path(__file__).parents[3] / "sample_data" / "tiny-llama")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "q", "completion": "word " * 3000}), encoding="utf-8")
    assert "leaves nearly all whole" in call("inspect", path, "--model", model).out
    for module in ("tui.cli.data", "core.data.tokens.forecast"):
        monkeypatch.setattr(f"{module}.LONGEST", 2048)
    said = call("inspect", path, "--model", model).out
    assert "1 row is longer than 2,048, the most that data.max_length takes" in said


def test_inspect_shows_clusters_of_near_duplicates(call: Call, tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(60))
    rows = [{"prompt": words, "completion": "yes"}, {"prompt": words.upper(), "completion": "Yes"},
            {"prompt": "mail me at jane.roe@web.de", "completion": "I will."}]  # fmt: skip
    path = tmp_path / "near.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    document = call("inspect", path, "--json", "--clean.near_duplicates").document
    assert document["rejected"] == {"near_duplicate": 1}
    (cluster,) = document["clusters"]
    assert cluster["kept"] == {"file": str(path), "line": 1}
    assert cluster["others"] == [{"file": str(path), "line": 2, "share": 1.0}]
    said = call("inspect", path, "--clean.near_duplicates").out
    assert "1 cluster of near duplicates" in said
    assert f"{path}:1 is kept; lines 2 (100%) are near to it" in said
    assert "personal data found (email in 1 row)" in said


def test_inspect_looks_at_evaluation_files(call: Call, tmp_path: Path) -> None:
    path, held = tmp_path / "own.jsonl", tmp_path / "held.jsonl"
    rows = [json.dumps({"prompt": f"q {n}", "completion": f"a {n}"}) for n in range(6)]
    path.write_text("\n".join(rows[:5]), encoding="utf-8")
    held.write_text("\n".join(rows[4:]), encoding="utf-8")
    said = call("inspect", path, "--data.eval_files", held)
    assert said.code == 0
    assert "7 rows read = 6 kept + 1 rejected" in said.out
    assert f"eval file {held}: " in said.out
    assert "1 held-out row repeats a training row and is left out" in said.out
    assert "5 rows to train, 1 held out" in said.out
    held.write_text(rows[0], encoding="utf-8")
    said = call("inspect", path, "--data.eval_files", held)
    assert said.code == 2
    assert "every row of data.eval_files repeats a training row (1 repeats_tr" in said.err
    held.write_text("<!DOCTYPE html><html></html>", encoding="utf-8")
    assert call("inspect", path, "--data.eval_files", held).code == 2
    said = call("inspect", path, "--data.stratify_by", "nope")
    assert (said.code, "no row has a field nope" in said.err) == (2, True)


def test_inspect_of_nothing_usable(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("{\n", encoding="utf-8")
    said = call("inspect", path, "--json")
    assert (said.code, said.document["kept"]) == (2, 0)
    assert said.document["error"]["kind"] == "no_rows"
    assert "no row of 1 can be used (1 not_json)" in said.err
    advice = " ".join(said.document["error"]["remedies"])
    assert "write one JSON object a line" in advice
    assert "docs/" not in advice
    path.write_text('{"Frage": "q", "Antwrot": "a"}\n', encoding="utf-8")
    columns = "--data.columns prompt=Frage,completion=Antwort"
    assert columns in call("inspect", path, "--json").document["error"]["message"]
    said = call("inspect", path, "--json", *columns.split())
    assert "there are Frage, Antwrot; the nearest is Antwrot" in said.document["error"]["message"]
    out = tmp_path / "out.jsonl"
    said = call("inspect", path, "--write", out)
    assert (said.code, out.exists()) == (2, False)
    assert f"no row is kept: {out} was not written" in said.err
    assert call("inspect", tmp_path / "gone.jsonl").code == 2
    assert call("inspect", path, "--max-length", "0").code == 2


@pytest.mark.parametrize(("level", "code"), [("warn", 0), ("fail", 1)])
def test_doctor(call: Call, monkeypatch: pytest.MonkeyPatch, level: str, code: int) -> None:
    findings = [Finding("RAM", "ok", "8 GiB"), Finding("torch", level, "old", "update it")]  # type: ignore[arg-type]
    monkeypatch.setattr("tui.cli.doctor.checks", lambda root: iter(findings))
    said = call("doctor")
    assert said.code == code
    assert "update it" in said.out
    assert call("doctor", "--json").document["findings"][1]["level"] == level


def test_demo_headless_trains_and_merges(call: Call, fake: type[FakeLink]) -> None:
    fake.script = [STARTED, step(2), MERGED, COMPARED, FINISHED]
    said = call("demo", "--headless")
    assert said.code == 0
    assert [job for job, _ in fake.launched] == ["train", "merge"]
    assert "base 3, merged 48" in said.out
