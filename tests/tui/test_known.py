"""What is known of all rows, as filters ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.config.schema import RunConfig
from core.data.survey import Survey
from tui.rows import Rows

CALL = {"type": "function", "function": {"name": "weather", "arguments": "{}"}}
ROWS = [
    {"prompt": "q", "completion": "a"},
    {"messages": [
        {"role": "user", "content": "Warm?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "21"},
        {"role": "assistant", "content": "Yes."},
    ]},
    {"text": "A paragraph of a book."},
    {"prompt": "q", "completion": ""},
]  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    found = Rows(RunConfig.model_validate({"data": {"files": [str(path)]}}))
    found.expect(Survey(found.config).run())
    found.expected()
    return found


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [("role", "tool", [1]), ("role", "text", [2]), ("role", "user", [0, 1]), ("role", "t", [1, 2]),
     ("role", "nobody", []), ("is", "kept", [0, 1, 2]), ("is", "rejected", [3]),
     ("file", "rows", [0, 1, 2, 3]), ("reason", "empty", [3])],
)  # fmt: skip
def test_rows_by_word(rows: Rows, key: str, text: str, expected: list[int]) -> None:
    assert np.flatnonzero(rows.word(key, text)).tolist() == expected


def test_a_survey_with_other_settings_is_shown_when_it_is_complete(rows: Rows) -> None:
    before, other = rows.survey, Survey(rows.config)
    rows.expect(other)
    assert rows.survey is before
    assert rows.looked_at
    other.run()
    rows.expected()
    assert rows.survey is other
    assert rows.coming is None
