"""The screen in a real terminal, with a real training behind it that does not need it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal import Terminal

from core.record.folder import RunFolder
from core.record.state import RunState, state_of

pytestmark = [pytest.mark.trains, pytest.mark.pty]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("FINETUI_RUNS", raising=False)
    rows = [
        {"instruction": f"say the number {n}", "output": f"{n} is the number"} for n in range(200)
    ]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return tmp_path


@pytest.fixture
def open_terminal(place: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals; none outlives the test."""
    opened: list[Terminal] = []

    def open_one(*arguments: str, columns: int = 120, rows: int = 40) -> Terminal:
        opened.append(Terminal(list(arguments), place, columns, rows))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.kill()


def until(run: RunFolder, wanted: Callable[[RunState], bool], seconds: float = 180) -> RunState:
    end = time.monotonic() + seconds
    while not wanted(state := state_of(run)):
        assert time.monotonic() < end, state
        time.sleep(0.2)
    return state


def test_start_kill_reopen_stop_resume_merge(
    place: Path, tiny_model: Path, open_terminal: Callable[..., Terminal]
) -> None:
    settings = {
        "model.name_or_path": tiny_model, "data.files": place / "rows.jsonl",
        "data.eval_files": "[]", "data.max_length": 64, "data.packing": "no",
        "train.max_steps": 60, "train.per_device_train_batch_size": 2,
        "train.gradient_accumulation_steps": 1, "train.save_steps": 10,
        "evaluate.eval_steps": 20, "evaluate.compare_rows": 2, "evaluate.max_new_tokens": 8,
        "run.name": "pty", "run.devices": "cpu",
    }  # fmt: skip
    flags = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    run = RunFolder(place / "runs" / "pty")

    first = open_terminal("demo", *flags)
    first.wait_for("start training")
    first.wait_for("say the number")
    first.press("t")
    first.wait_for("● training", 120)
    until(run, lambda state: state.step >= 3)
    first.wait_for("/60")
    assert "libtorch" not in first.maps()
    first.kill()

    killed_at = state_of(run).step
    until(run, lambda state: state.step > killed_at)

    second = open_terminal("attach", "pty", columns=80, rows=24)
    second.wait_for("● training", 30)
    assert second.hang_up() == 0

    third = open_terminal("attach", str(run.path))
    third.wait_for("say the number", 30)
    third.press("x")
    stopped = until(run, lambda state: state.status in ("stopped", "finished"))
    third.wait_for(stopped.status, 30)
    if stopped.status == "stopped":
        third.press("t")
    until(run, lambda state: state.status == "finished")
    third.wait_for("finished", 30)
    third.press("m")
    third.wait_for("Merge the adapter", 30)
    third.press("m")
    done = until(run, lambda state: state.merged is not None and state.status == "finished")
    third.wait_for("vllm serve", 60)
    third.wait_for("merge done", 10)
    assert done.compared is not None
    assert (run.merged / "model.safetensors").is_file()
    third.press("q")
    assert third.wait() == 0
