"""The journal: nothing lost, torn lines passed over, everything read back equal."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from core.record import events as ev
from core.record.journal import Journal, Tail, decode, encode, last_attempt, read

STEP = ev.StepDone(
    step=1, epoch=0.1, loss=2.5, learning_rate=1e-4, grad_norm=0.3, tokens=100, step_seconds=0.2,
    tokens_per_second=500.0,
)  # fmt: skip


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path, attempt=2, run="demo")
    journal.stage = "training"
    journal.append(STEP)
    journal.append(ev.JobFailed(job="train", kind="x", message="m\u2028", remedies=("a", "b")))
    journal.close()
    first, step, failed = read(path)
    assert isinstance(first.event, ev.JournalOpened)
    assert (step.seq, step.attempt, step.stage, step.event) == (2, 2, "training", STEP)
    assert isinstance(failed.event, ev.JobFailed)
    assert failed.event.remedies == ("a", "b")
    assert path.stat().st_mode & 0o777 == 0o600


def test_sequence_goes_on_after_reopening_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Journal(path, attempt=1).close()
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "time": 1, "att')
    journal = Journal(path, attempt=2)
    journal.append(STEP)
    journal.close()
    tail = Tail(path)
    records = tail.poll()
    assert [record.seq for record in records] == [1, 2]
    assert tail.unreadable == 1
    assert last_attempt(path) == 2


def test_tail_waits_for_the_rest_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert tail.poll() == []
    line = encode(ev.Record(1, 1.0, 1, "", STEP))
    path.write_bytes(line[:20])
    assert tail.poll() == []
    with path.open("ab") as file:
        file.write(line[20:])
    assert [record.event for record in tail.poll()] == [STEP]
    assert tail.unreadable == 0


def test_garbage_is_counted_and_unknown_kinds_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = {"seq": 1, "time": 1.0, "attempt": 1, "stage": "", "type": "FromTheFuture", "event": {}}
    extra = json.loads(encode(ev.Record(2, 1.0, 1, "", STEP)))
    extra["event"]["field_of_a_newer_version"] = 1
    path.write_bytes(
        b"\x00\xff not json\n[1]\n" + f"{json.dumps(newer)}\n{json.dumps(extra)}\n".encode()
    )
    tail = Tail(path)
    assert [record.event for record in tail.poll()] == [STEP]
    assert tail.unreadable == 2


@given(st.floats(allow_nan=True, allow_infinity=True), st.text())
def test_any_number_and_text_survive_a_line(number: float, text: str) -> None:
    event = ev.GuardTripped(guard=text, step=1, message=text)
    done = ev.EvalDone(step=1, loss=number, rows=1, seconds=1.0, best=False)
    for original in (event, done):
        line = encode(ev.Record(1, 1.0, 1, "s", original))
        assert line.count(b"\n") == 1
        back = decode(line)
        assert back is not None
        if isinstance(original, ev.EvalDone):
            assert isinstance(back.event, ev.EvalDone)
            same = back.event.loss == number or (math.isnan(number) and math.isnan(back.event.loss))
            assert same
        elif not any(0xD800 <= ord(c) <= 0xDFFF for c in text) and text not in (
            "NaN", "Infinity", "-Infinity",
        ):  # fmt: skip
            assert back.event == original


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    threads = [
        threading.Thread(target=lambda: [journal.append(STEP) for _ in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert [record.seq for record in read(path)] == list(range(1, 802))
