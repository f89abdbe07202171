"""The account of rows: read = kept + rejected, whatever stands in the files."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.data.chats.hashes import keys
from core.data.read.sources import Rejected
from core.data.survey import Survey, survey

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
    told: list[tuple[int, Rejected]] = []
    config = RunConfig.model_validate({"data": {"files": [str(path)]}})
    try:
        found = Survey(config, on_rejected=lambda *entry: told.append(entry)).run()
    except InputError as error:  # bytes that make the file binary, or text in another encoding
        if "binary" in error.message or error.kind == "not_utf8":
            return
        raise
    in_file = path.read_bytes().split(b"\n")
    tally = found.tally
    assert tally.balanced
    assert tally.read == found.done
    assert tally.read + tally.blank_lines.total() + (in_file[-1] == b"") == len(in_file)
    assert tally.kept == int((found.reason == 0).sum())
    assert found.line.tolist() == [number for number, line in enumerate(in_file, 1) if line.strip()]
    assert [number for number, _ in told] == np.flatnonzero(found.reason).tolist()
    assert all(row.reason and row.detail for _, row in told)


def test_repetitions_name_the_row_they_repeat(write_lines: Callable[..., Path]) -> None:
    row: dict[str, Any] = {"instruction": "Cafe\u0301?", "output": "Yes."}
    one = write_lines(row, {"instruction": "Café? ", "output": "Yes.", "id": 7}, name="a.jsonl")
    two = write_lines(row, {"instruction": "Café?", "output": "No."}, name="b.jsonl")
    rejected: list[Rejected] = []
    config = RunConfig.model_validate({"data": {"files": [str(one), str(two), str(one)]}})
    tally = Survey(config, on_rejected=lambda _, row: rejected.append(row)).run().tally
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
    tally = survey(RunConfig.model_validate({"data": {"files": [str(path)]}})).tally
    assert tally.formats == {"prompt_completion": 2, "alpaca": 1}


CONTENT = st.sampled_from(
    ["", "a", "b", " a", "a\0user\0", "\0", "\1", "\0\1", "e\u0301", "é", "\0\2{}"]
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]), "content": CONTENT},
    optional={"name": st.sampled_from(["x", "y"])},
)


@given(one=st.lists(MESSAGE, max_size=3), other=st.lists(MESSAGE, max_size=3))
@settings(max_examples=500)
def test_hashes_are_equal_for_equal_chats_only(one: Any, other: Any) -> None:
    (normal, exact), (other_normal, other_exact) = keys(one), keys(other)
    assert (exact == other_exact) == (one == other)
    assert (normal == other_normal) == (normalized(one) == normalized(other))


def normalized(chat: Any) -> Any:
    return [m | {"content": unicodedata.normalize("NFC", m["content"].strip())} for m in chat]
