"""What is written is read back as the same data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.schema import RunConfig
from core.data.chats.formats import Chat, Converted, to_chat
from core.data.export import write_rows
from core.data.inspect import inspect
from core.data.read.sources import Row, read_rows

CALL = {"id": "c1", "type": "function", "function": {"name": "sum", "arguments": {"of": [1, 2]}}}
TOOLS = [{"type": "function", "function": {"name": "sum", "parameters": {"type": "object"}}}]
ROWS = [
    {"text": "A raw text, of which every token is learned."},
    {"prompt": "Who wrote Faust?", "completion": "Goethe."},
    {"messages": [{"role": "user", "content": "Is it raining?"},
                  {"role": "assistant", "content": "No.", "reasoning_content": "I look outside."}]},
    {"tools": TOOLS, "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What is 1 and 2?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "sum"},
        {"role": "assistant", "content": "It is 3."}]},
]  # fmt: skip


def chats_of(path: Path) -> list[Chat]:
    made = [to_chat(row.value, "auto") for row in read_rows([path]) if isinstance(row, Row)]
    return [one.chat for one in made if isinstance(one, Converted)]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_mixed_data_is_read_back_with_the_same_fingerprint(suffix: str, tmp_path: Path) -> None:
    source, written = tmp_path / "rows.jsonl", tmp_path / f"written{suffix}"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    chats = chats_of(source)
    assert write_rows(written, chats) == len(ROWS)
    assert chats_of(written) == chats
    before, after = (
        inspect(RunConfig.model_validate({"data": {"files": [str(path)]}}))
        for path in (source, written)
    )
    assert after.survey.tally.kept == len(ROWS)
    assert after.fingerprint == before.fingerprint
