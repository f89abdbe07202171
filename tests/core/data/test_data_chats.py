"""The account of rows: read = kept + rejected, whatever stands in the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.errors import InputError
from core.data.chats import Kept, Seen, Tally, read_chats
from core.data.sources import Rejected

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["instruction", "input", "output", "messages", "conversations", "prompt", "completion",
     "chosen", "rejected", "system", "history", "text"]
)  # fmt: skip
TURN = st.dictionaries(
    st.sampled_from(["role", "content", "from", "value", "tool_calls"]),
    st.sampled_from(["user", "assistant", "system", "human", "gpt", "", None, 3]),
)
ROW = st.dictionaries(FIELDS, JSON | st.lists(TURN, max_size=4), max_size=4)
GOOD = st.builds(lambda n: {"instruction": f"q{n}", "output": "a"}, st.integers(0, 5))
LINE = (ROW | GOOD | JSON).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=30)


@given(lines=st.lists(LINE, min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_every_line_is_accounted_for(
    lines: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("dirty") / "rows.jsonl"
    path.write_bytes(b'{"instruction": "first", "output": "row"}\n' + b"\n".join(lines))
    tally = Tally()
    try:
        outcomes = list(read_chats([path], "auto", tally, Seen()))
    except InputError as error:  # binary bytes near the front: the file is refused in words
        if "binary" in error.message:
            return
        raise
    in_file = path.read_bytes().split(b"\n")
    assert tally.balanced
    assert tally.read == len(outcomes)
    assert tally.read + tally.blank_lines.total() + (in_file[-1] == b"") == len(in_file)
    assert tally.kept == sum(isinstance(outcome, Kept) for outcome in outcomes)
    assert [outcome.line for outcome in outcomes] == [
        number for number, line in enumerate(in_file, 1) if line.strip()
    ]
    assert all(o.reason and o.detail for o in outcomes if isinstance(o, Rejected))


def test_repetitions_name_the_row_they_repeat(write_lines: Callable[..., Path]) -> None:
    row: dict[str, Any] = {"instruction": "Cafe\u0301?", "output": "Yes."}
    one = write_lines(row, {"instruction": "Café? ", "output": "Yes.", "id": 7}, name="a.jsonl")
    two = write_lines(row, {"instruction": "Café?", "output": "No."}, name="b.jsonl")
    tally = Tally()
    outcomes = list(read_chats([one, two, one], "auto", tally, Seen()))
    rejected = [o for o in outcomes if isinstance(o, Rejected)]
    assert [o.reason for o in rejected] == ["duplicate"] * 4
    assert rejected[0].detail == "repeats line 1"
    assert rejected[1].detail == f"repeats {one}, line 1"
    assert (tally.read, tally.kept) == (6, 2)
    assert tally.by_file[str(two)] == {"read": 2, "kept": 1, "duplicate": 1}


def test_mixed_formats_are_counted(write_lines: Callable[..., Path]) -> None:
    path = write_lines(
        {"instruction": "q", "output": "a"},
        {"prompt": "q2", "completion": "a"},
        {"prompt": "q3", "completion": "a"},
    )
    tally = Tally()
    list(read_chats([path], "auto", tally, Seen()))
    assert tally.formats == {"prompt_completion": 2, "alpaca": 1}
