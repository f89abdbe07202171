"""Many rows at once become what each becomes on its own."""

from __future__ import annotations

import json

import pytest
from dirty_files import BROKEN, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import POSITIVES, TEXTS

from core.config.schema import RunConfig
from core.data.batch import Batches
from core.data.chats.hashes import keys
from core.data.pipeline import Kept, Pipeline
from core.data.read.lines import parse_line
from core.data.read.row import Rejected, Row

TURNS = st.lists(TEXTS, min_size=2, max_size=4).map(
    lambda texts: [
        {"role": ("user", "assistant")[number % 2], "content": text}
        for number, text in enumerate(texts)
    ]
)
GOOD = (
    st.fixed_dictionaries({"instruction": TEXTS, "output": TEXTS}, optional={"input": TEXTS})
    | st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS})
    | st.fixed_dictionaries({"messages": TURNS}, optional={"topic": TEXTS})
)
LINES = (GOOD | rows).map(lambda row: json.dumps(row).encode()) | st.sampled_from(BROKEN)
SETTINGS = [
    {},
    {"clean": {"whitespace": True, "html": True, "placeholders": True, "min_answer_chars": 3}},
    {"clean": {"personal_data": "mask", "secrets": "drop"}},
    {"clean": {"control_characters": False, "empty": False}},
    {"data": {"stratify_by": "topic"}},
]


@pytest.mark.parametrize("values", SETTINGS)
def test_lines_are_what_each_is_alone(values: dict[str, dict[str, object]]) -> None:
    pipeline = Pipeline(RunConfig.model_validate(values))
    batches = Batches(pipeline)

    @given(lines=st.lists(LINES, max_size=12))
    @settings(max_examples=150, deadline=None)
    def same(lines: list[bytes]) -> None:
        lines = [part for line in lines for part in line.split(b"\n")]
        full = [(n, raw) for n, raw in enumerate(lines, 8) if raw and not raw.isspace()]
        parsed: list[Row | Rejected] = [parse_line(raw, "f", number) for number, raw in full]
        alone = [pipeline.outcome(row) for row in parsed]
        hashes = [keys(row.chat) for row in alone if isinstance(row, Kept)]
        found = batches.of_lines(lines, "f", 7)
        assert (found.rows, found.keys) == (alone, hashes)
        assert found.blanks == len(lines) - len(full)
        found = batches.of_rows(parsed)
        assert (found.rows, found.keys) == (alone, hashes)

    same()


def test_a_row_is_judged_by_itself_and_not_by_its_neighbours() -> None:
    quiet = {"instruction": "ends in 12 ", "output": "(3) and 4"}
    loud = [text.replace("{}", value) for _, value, text in POSITIVES]
    batches = Batches(Pipeline(RunConfig()))
    values = [v for text in loud for v in (quiet, {"instruction": "q", "output": text})]
    found = batches.of_lines([json.dumps(value).encode() for value in values], "f", 0).rows
    assert [row.notes for row in found[::2] if isinstance(row, Kept)] == [()] * len(loud)
    pipeline = Pipeline(RunConfig())
    assert found[1::2] == [
        pipeline.outcome(Row("f", number, value))
        for number, value in list(enumerate(values, 1))[1::2]
    ]
