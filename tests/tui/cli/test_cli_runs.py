"""train, resume and attach against a Link that plays a journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_events import FAILED, FINISHED, SAVED, STARTED, STOPPED, step
from stand_in import FakeLink, Said

from core.config import files
from core.record import events as ev
from core.record.folder import RunFolder
from tui.cli import follow

Call = Callable[..., Said]
Fake = type[FakeLink]


def test_train_follows_to_the_end(call: Call, fake: Fake, flags: list[str]) -> None:
    fake.script = [STARTED, step(1), step(2, 1.25), SAVED, FINISHED]
    said = call("train", *flags, "--run.name", "mine", "--adapter.r", "8")
    assert said.code == 0
    assert fake.launched == [("train", {})]
    assert "step 2  loss 1.250" in said.out
    assert "saved checkpoint-2" in said.out
    assert "finetui merge mine" in said.err
    config = files.load(Path("runs/mine/run.toml")).config
    assert (config.adapter.r, config.run.devices) == (8, "cpu")


def test_what_is_known_to_be_refused_makes_no_run(
    call: Call, fake: Fake, flags: list[str], model: Path
) -> None:
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes), encoding="utf-8")
    said = call("train", *flags, "--train.fp8", "yes")
    assert said.code == 2
    assert "the fused path is for NVIDIA GPUs, and train.fp8 is for the fused path" in said.err
    assert "set train.fp8 to no" in said.err
    assert not Path("runs").exists()
    # Rows may be prepared on another machine than the one that trains.
    call("prepare", *flags, "--train.fp8", "yes")
    assert fake.launched == [("prepare", {})]


def test_train_as_json_prints_the_journal_line_by_line(
    call: Call, fake: Fake, flags: list[str]
) -> None:
    fake.script = [step(1, float("nan")), FINISHED]
    said = call("train", *flags, "--json")
    kinds = [line["type"] for line in said.lines]
    assert kinds == ["JournalOpened", "HostStarted", "JobStarted", "StepDone", "JobFinished"]
    assert said.lines[3]["event"]["loss"] == "NaN"


def test_a_failed_run_ends_with_one_and_says_what_to_do(
    call: Call, fake: Fake, flags: list[str]
) -> None:
    fake.script = [FAILED]
    said = call("train", *flags)
    assert said.code == 1
    assert "The GPU's memory is full" in said.err
    assert "lower data.max_length" in said.err
    assert "worker.log" in said.err


@pytest.mark.parametrize("code", [2, 3])
def test_what_a_job_refuses_keeps_its_exit_code(
    call: Call, fake: Fake, flags: list[str], code: int
) -> None:
    fake.script = [
        ev.JobFailed(job="train", kind="changed", message="the data changed", exit_code=code)
    ]
    assert call("train", *flags).code == code


def test_a_run_that_stops_early_is_no_failure(call: Call, fake: Fake, flags: list[str]) -> None:
    fake.script = [STOPPED]
    said = call("train", *flags)
    assert said.code == 0
    assert "finetui resume" in said.err


def test_the_first_ctrl_c_stops_and_saves(call: Call, fake: Fake, flags: list[str]) -> None:
    fake.script = [step(1), KeyboardInterrupt()]
    fake.on_send = {"StopAndSave": [STOPPED]}
    said = call("train", *flags)
    assert (said.code, fake.sent) == (130, ["StopAndSave"])
    assert "saving and stopping" in said.err


def test_the_second_ctrl_c_leaves_it_running(call: Call, fake: Fake, flags: list[str]) -> None:
    fake.script = [step(1), KeyboardInterrupt(), step(2), KeyboardInterrupt()]
    said = call("train", *flags, "--run.name", "mine")
    assert (said.code, fake.sent) == (130, ["StopAndSave"])
    assert "finetui attach mine" in said.err


def test_detached_returns_at_once(call: Call, fake: Fake, flags: list[str]) -> None:
    said = call("train", *flags, "--run.name", "mine", "--detach", "--json")
    assert said.code == 0
    assert said.document["run"] == "mine"
    assert said.document["status"] == "started"
    assert "finetui attach mine" in said.err


def test_in_process_sets_the_engine_host(call: Call, fake: Fake, flags: list[str]) -> None:
    fake.script = [FINISHED]
    assert call("train", *flags, "--run.name", "mine", "--in-process").code == 0
    assert files.load(Path("runs/mine/run.toml")).config.run.engine_host == "thread"
    said = call("train", *flags, "--run.engine_host", "thread", "--detach")
    assert said.code == 2


def test_a_file_and_flags_together(call: Call, fake: Fake, model: Path, rows: Path) -> None:
    fake.script = [FINISHED]
    Path("run.toml").write_text(
        f'max_seq_length = 512\n[model]\nname_or_path = "{model}"\n[data]\nfiles = ["{rows}"]\n',
        encoding="utf-8",
    )
    said = call("train", "run.toml", "--learning_rate", "1e-3", "--run.name", "mine")
    assert said.code == 0
    assert "max_seq_length is called data.max_length here" in said.err
    config = files.load(Path("runs/mine/run.toml")).config
    assert (config.train.learning_rate, config.data.max_length) == (1e-3, 512)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["--model.name_or_path", ""], "no model is named"),
        (["--model.name_or_path", "./nowhere"], "there is no model folder"),
        (["--data.files", ""], "no training data is named"),
        (["--data.files", "gone.jsonl"], "there is no file gone.jsonl"),
        (["--data.eval_files", "gone.jsonl"], "there is no file gone.jsonl"),
        (["--adapter.target_modules", "q_porj"], "did you mean q_proj"),
        (["--run.devices", "7"], "invalid device"),
        (["--adapter.r", "many"], "adapter.r is 'many'"),
        (["--adapter.rr", "8"], "did you mean"),
        (["nowhere.toml"], "there is no such file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(
    call: Call, fake: Fake, flags: list[str], changed: list[str], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from core.monitor import devices

    monkeypatch.setattr(devices, "listing", lambda: devices.Listing(why="no GPU here"))
    base = [] if changed[0] == "--data.files" else flags
    if not base:
        base = [*flags[:2], *flags[4:]]
    said = call("train", *base, *changed, "--json")
    assert said.code == 2
    assert words in said.err
    assert words in said.document["error"]["message"]
    assert fake.launched == []
    assert not Path("runs").exists()


def test_a_taken_name_is_refused(call: Call, fake: Fake, flags: list[str]) -> None:
    fake.script = [FINISHED]
    assert call("train", *flags, "--run.name", "mine").code == 0
    said = call("train", *flags, "--run.name", "mine")
    assert said.code == 3
    assert "nothing was frozen or trained in it" in said.err
    assert "finetui resume" not in said.err
    Path("runs/mine/data").mkdir()
    said = call("train", *flags, "--run.name", "mine")
    assert said.code == 3
    assert "finetui resume mine" in said.err


def test_resume_prints_only_what_is_new(
    call: Call, fake: Fake, make_run: Callable[..., RunFolder]
) -> None:
    make_run("old", ev.JobStarted(job="train"), step(1), STOPPED)
    fake.script = [step(2), FINISHED]
    said = call("resume", "old")
    assert said.code == 0
    assert fake.launched == [("train", {})]
    assert "step 2" in said.out
    assert "step 1 " not in said.out
    assert call("resume", "nobody").code == 2


def test_attach_without_a_terminal_follows_as_text(
    call: Call,
    fake: Fake,
    make_run: Callable[..., RunFolder],
    held: Callable[[RunFolder], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run("old", ev.JobStarted(job="train"), STARTED, step(1))
    held(run)
    monkeypatch.setattr(follow, "_RELEASE_SECONDS", 0.0)
    monkeypatch.setattr(FakeLink, "follow", lambda self: setattr(
        self, "_pending", [step(2), FINISHED]))  # fmt: skip
    said = call("attach", "old")
    assert said.code == 0
    assert "old: running, step 1 of 2" in said.err
    assert "step 2" in said.out
    assert "step 1 " not in said.out


def test_ctrl_c_while_attached_only_leaves(
    call: Call,
    fake: Fake,
    make_run: Callable[..., RunFolder],
    held: Callable[[RunFolder], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held(make_run("old", ev.JobStarted(job="train"), STARTED, step(1)))
    monkeypatch.setattr(FakeLink, "follow", lambda self: setattr(
        self, "_pending", [KeyboardInterrupt()]))  # fmt: skip
    said = call("attach", "old")
    assert (said.code, fake.sent) == (130, [])


def test_attach_to_a_run_at_rest_shows_it(
    call: Call, fake: Fake, make_run: Callable[..., RunFolder]
) -> None:
    make_run("old", ev.JobStarted(job="train"), FINISHED)
    said = call("attach", "old")
    assert said.code == 0
    assert "nothing runs on old: it is finished" in said.err


def test_processes_that_vanish_are_noticed(
    call: Call, fake: Fake, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_LOST_SECONDS", 0.1)
    fake.script = [step(1)]  # and then nothing, with nobody holding the lock
    said = call("train", *flags, "--run.name", "mine")
    assert said.code == 1
    assert "the processes of mine are gone" in said.err
    assert "finetui resume mine" in said.err


def test_foreign_text_is_inert(call: Call, fake: Fake, flags: list[str]) -> None:
    fake.script = [ev.LineLogged(level="info", text="\x1b]0;title\x07 \ud800"), FINISHED]
    said = call("train", *flags)
    assert "\x1b" not in said.out
    assert "␛]0;title" in said.out
