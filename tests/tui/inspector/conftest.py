"""Data that has something of everything, and an app that shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.schema import RunConfig
from tui.app import FinetuiApp

TINY = Path(__file__).parents[3] / "sample_data" / "tiny-llama"


def general() -> list[dict[str, Any]]:
    """Ten questions, of which the last one repeats the first."""
    rows = [{"instruction": f"Question {n} about a refund", "output": f"Answer {n}. " * n,
             "topic": "money" if n % 2 else "time"} for n in range(1, 10)]  # fmt: skip
    return [*rows, rows[0]]


def domain() -> list[dict[str, Any]]:
    """A chat with a system turn, a row without an answer, and a long one."""
    return [
        {"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Is it \x1b[31mred[/]?"},
            {"role": "assistant", "content": "It is."},
        ]},
        {"instruction": "No answer here", "output": ""},
        {"instruction": "Tell me all", "output": "word " * 400},
    ]  # fmt: skip


@pytest.fixture
def data_files(tmp_path: Path) -> list[str]:
    """`general.jsonl` with ten rows and `domain.jsonl` with three, in the current folder."""
    for name, rows in (("general", general()), ("domain", domain())):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return ["general.jsonl", "domain.jsonl"]


@pytest.fixture
def config(data_files: list[str]) -> RunConfig:
    """Both files with the tiny model; what is hostile in them is not repaired."""
    return RunConfig.model_validate(
        {
            "data": {"files": data_files, "max_length": 256},
            "clean": {"control_characters": False},
            "model": {"name_or_path": str(TINY)},
        }
    )


@pytest.fixture
def app(make_app: Callable[..., FinetuiApp], config: RunConfig) -> FinetuiApp:
    return make_app(config=config)
