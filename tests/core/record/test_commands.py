"""Commands: garbage in the file does no harm, and a job hears what was asked."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from core.record.commands import Aborted, Command, CommandTail, Control, send


def test_commands_arrive_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    tail = CommandTail(path)
    assert list(tail.poll()) == []
    sent = [Command("Pause", 1), Command("Continue", 1)]
    for command in sent:
        send(path, command)
    assert list(tail.poll()) == sent
    assert list(tail.poll()) == []


def test_garbage_half_lines_and_unknown_names_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    tail = CommandTail(path)
    path.write_bytes(
        b"\x00\xff\n{}\n[]\n"
        b'{"name": "Format", "attempt": 1, "id": "x", "time": 1}\n'
        + b"x" * 1_000_000
        + b'\n{"name": "Pau'
    )
    assert list(tail.poll()) == []
    with path.open("ab") as file:
        file.write(b'se", "attempt": 3, "id": "y", "time": 1}\n')
    assert [(c.name, c.attempt, c.id) for c in tail.poll()] == [("Pause", 3, "y")]


def test_an_endless_line_does_not_stop_later_commands(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    tail = CommandTail(path)
    path.write_bytes(b"z" * (3 << 20) + b"\n")
    for _ in range(5):
        assert list(tail.poll()) == []
    send(path, Command("Abort", 1))
    assert [c.name for c in tail.poll()] == ["Abort"]


def test_control_tells_a_job_what_was_asked() -> None:
    control = Control()
    control.check()
    control.take("SaveNow")
    assert control.take_save()
    assert not control.take_save()
    control.take("StopAndSave", "the system asked")
    assert control.stop_reason == "the system asked"
    control.take("Abort")
    with pytest.raises(Aborted):
        control.check()


def test_a_paused_job_wakes_as_soon_as_it_is_told() -> None:
    control = Control()
    control.take("Pause")
    threading.Timer(0.05, control.take, ("Continue",)).start()
    begin = time.monotonic()
    while control.wait_while_paused(5):
        assert time.monotonic() - begin < 4
    assert not control.paused
