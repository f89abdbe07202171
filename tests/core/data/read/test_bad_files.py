"""Bad files of every sort have the result that docs/data.md promises, soon and in little memory."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.config.errors import InputError
from core.data.chats.formats import Defect, to_chat
from core.data.read.sources import Rejected, Row, read_rows

GOOD = b'{"prompt": "q", "completion": "a"}'


@contextmanager
def little(seconds: float, peak_bytes: int) -> Iterator[None]:
    """Within this time and memory. The time is a backstop for a machine that others share."""
    tracemalloc.start()
    began = time.monotonic()
    yield
    took, peak = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < seconds
    assert peak < peak_bytes


def write(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


def reasons(path: Path) -> list[tuple[int, str]]:
    return [(r.line, r.reason) for r in read_rows([path]) if isinstance(r, Rejected)]


def test_a_bad_line_in_the_middle_and_a_cut_last_one_cost_themselves(tmp_path: Path) -> None:
    lines = [GOOD] * 40_000
    lines[20_000] = b'{"prompt": "q", "completion'
    path = write(tmp_path / "a.jsonl", b"\n".join(lines) + b"\n" + GOOD[:-9])
    with little(30, 8 << 20):  # a block, its lines, and nothing that grows with the file
        count, bad = 0, []
        for row in read_rows([path]):
            count += 1
            if isinstance(row, Rejected):
                bad.append((row.line, row.reason))
    assert count == 40_001
    assert bad == [(20_001, "not_json"), (40_001, "not_json")]


@pytest.mark.parametrize(
    ("line", "result"),
    [
        (b'{"a": "x\\u0000y"}', "x\0y"),
        (b'{"a": "x\xe2\x80\xa8y"}', "x\u2028y"),
        (b'{"a": "x"}\r', "x"),
        (b'{"a": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"a": "\x00"}', "not_json"),
        (b'{"a": "\\ud83d"}', "half_character"),
        (b'{"a": "\xed\xa0\xbd"}', "not_utf8"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": {"b" : 1, "b" : 1}, "c": "\\": \\\\"}', "duplicate_key"),
        (b'{"a": [[{"b": 1, "c": 2, "b": 3}]]}', "duplicate_key"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -1e999}', "not_finite"),
        (b'{"a": 1} # note', "not_json"),
        (b"{'a': 'x'}", "not_json"),
        (b'{"a": "x",}', "not_json"),
        (b'[{"a": "x"}]', "not_an_object"),
    ],
)
def test_odd_lines_have_a_defined_result(line: bytes, result: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD + b"\n" + line + b"\n" + GOOD + b"\n")
    first, odd, last = read_rows([path])
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert last.line == 3
    if isinstance(odd, Row):
        assert odd.value == {"a": result}
    else:
        assert (odd.line, odd.reason) == (2, result)


def test_numbers_that_a_fast_parser_would_round_stay_exact(tmp_path: Path) -> None:
    numbers = [2**63, 2**64, -(2**70), 1e300, 0.1, 10**25]
    path = write(tmp_path / "a.jsonl", json.dumps({"a": numbers, "b": {"c": 2**65}}).encode())
    (row,) = read_rows([path])
    assert isinstance(row, Row)
    assert row.value == {"a": numbers, "b": {"c": 2**65}}


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(("depth", "fits"), [(63, True), (64, False), (5000, False)])
def test_nesting_has_a_limit(name: str, depth: int, fits: bool, tmp_path: Path) -> None:
    deep = b'{"a": ' + b"[" * depth + b"]" * depth + b"}"
    raw = deep + b"\n" + GOOD if name == "a.jsonl" else b"[" + deep + b",\n" + GOOD + b"]"
    path = write(tmp_path / name, raw)
    with little(10, 8 << 20):
        found = reasons(path)
    assert found == ([] if fits else [(1, "too_deep")])


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_a_line_of_100_megabytes_is_passed_over(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    before, after = {
        "a.jsonl": (GOOD + b'\n{"a": "', b'"}\n' + GOOD),
        "a.json": (b"[" + GOOD + b',\n{"a": "', b'"},\n' + GOOD + b"]"),
        "a.csv": (b"prompt,completion\nq,", b"\nq,a\n"),
        "a.txt": (b"One.\n\n", b"\n\nTwo."),
    }[name]
    with path.open("wb") as file:
        file.write(before)
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(after)
    with little(30, 90 << 20):
        rows = list(read_rows([path]))
    (long,) = [row for row in rows if isinstance(row, Rejected)]
    assert long.reason == "line_too_long"
    assert long.raw
    assert isinstance(rows[-1], Row)
    assert len(rows) == (2 if name == "a.csv" else 3)


def test_a_sparse_file_of_ten_gigabytes_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    with little(10, 8 << 20), pytest.raises(InputError, match="binary"):
        list(read_rows([path]))


def test_devices_pipes_and_files_that_may_not_be_read_are_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), Path("/dev/stdin"), tmp_path / ("x" * 300 + ".jsonl")):
        with pytest.raises(InputError) as caught:
            list(read_rows([path]))
        assert caught.value.remedies


def test_one_row_is_enough_for_every_kind_of_file(tmp_path: Path) -> None:
    for name, raw in [
        ("a.jsonl", GOOD), ("a.json", b"[" + GOOD + b"]"), ("b.json", GOOD), ("a.txt", b"x"),
        ("a.csv", b"prompt,completion\nq,a"),
    ]:  # fmt: skip
        (row,) = read_rows([write(tmp_path / name, raw)])
        assert isinstance(row, Row), name


def test_a_change_of_type_in_the_middle_costs_the_rows_that_changed(tmp_path: Path) -> None:
    changed = b'{"prompt": "q", "completion": 7}'
    path = write(tmp_path / "a.jsonl", b"\n".join([GOOD] * 500 + [changed] + [GOOD] * 500))
    results = [to_chat(row.value, "auto") for row in read_rows([path]) if isinstance(row, Row)]
    defects = [(n, r.reason) for n, r in enumerate(results, 1) if isinstance(r, Defect)]
    assert defects == [(501, "wrong_type")]
