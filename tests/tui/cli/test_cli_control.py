"""pause, continue, save, stop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sample_events import FINISHED, SAVED, STARTED, STOPPED, answered, step
from stand_in import FakeLink, Said

from core.record import events as ev
from core.record.folder import RunFolder
from tui.cli import control

Call = Callable[..., Said]
Make = Callable[..., RunFolder]
Hold = Callable[[RunFolder], None]
RUNNING = (ev.JobStarted(job="train"), STARTED, step(1))


@pytest.mark.parametrize(
    ("words", "name", "effect", "said_words"),
    [
        (["pause"], "Pause", ev.Paused(step=1), "paused at step 1; GPU memory stays taken"),
        (["save"], "SaveNow", SAVED, "saved checkpoint-2"),
        (["stop"], "StopAndSave", STOPPED, "stopped at step 1: asked; saved checkpoint-1"),
        (["stop", "--now"], "Abort", STOPPED, "stopped at step 1"),
    ],
)
def test_a_request_and_what_became_of_it(
    call: Call, fake: type[FakeLink], make_run: Make, held: Hold,
    words: list[str], name: str, effect: ev.Event, said_words: str,
) -> None:  # fmt: skip
    held(make_run("it", *RUNNING))
    fake.on_send = {name: [answered(name), effect]}
    said = call(words[0], "it", *words[1:])
    assert (said.code, fake.sent) == (0, [name])
    assert said_words in said.out


def test_continue_a_paused_run(
    call: Call, fake: type[FakeLink], make_run: Make, held: Hold
) -> None:
    held(make_run("it", *RUNNING, ev.Paused(step=1)))
    fake.on_send = {"Continue": [answered("Continue"), ev.Continued(step=1)]}
    assert "going on at step 1" in call("continue", "it").out


def test_a_run_that_is_so_already_is_left_alone(
    call: Call, fake: type[FakeLink], make_run: Make, held: Hold
) -> None:
    held(make_run("it", *RUNNING))
    said = call("continue", "it")
    assert (said.code, fake.sent) == (0, [])
    assert "running already" in said.out


def test_an_answer_without_its_effect_yet(
    call: Call, fake: type[FakeLink], make_run: Make, held: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_SECONDS", 0.2)
    held(make_run("it", *RUNNING))
    fake.on_send = {"Pause": [answered("Pause")]}
    said = call("pause", "it", "--json")
    assert said.code == 0
    assert said.document == {
        "run": "it", "command": "Pause", "accepted": True, "effect": None, "detail": None,
    }  # fmt: skip
    assert "will pause after this step" in call("pause", "it").out


def test_no_answer_is_a_failure(
    call: Call, fake: type[FakeLink], make_run: Make, held: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_SECONDS", 0.2)
    held(make_run("it", *RUNNING))
    said = call("stop", "it")
    assert said.code == 1
    assert "did not answer" in said.err


def test_a_refused_request(call: Call, fake: type[FakeLink], make_run: Make, held: Hold) -> None:
    held(make_run("it", *RUNNING))
    fake.on_send = {"SaveNow": [answered("SaveNow", accepted=False, reason="it has ended")]}
    said = call("save", "it")
    assert said.code == 3
    assert "it has ended" in said.err


@pytest.mark.parametrize("word", ["pause", "continue", "save", "stop"])
def test_nothing_runs(call: Call, fake: type[FakeLink], make_run: Make, word: str) -> None:
    make_run("done", *RUNNING, FINISHED)
    make_run("dead", *RUNNING)  # nobody holds its lock
    for name, status in (("done", "finished"), ("dead", "interrupted")):
        said = call(word, name)
        assert (said.code, fake.sent) == (3, [])
        assert f"it is {status}" in said.err
        assert f"finetui resume {name}" in said.err
