"""A run on disk, and job bodies that do nothing but what a test tells them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.config import files
from core.config.schema import RunConfig
from core.record import folder
from core.record.folder import RunFolder
from core.record.job import Job, Result
from core.run import engine


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    model = tmp_path / "model"
    model.mkdir()
    data = tmp_path / "rows.jsonl"
    data.write_text('{"instruction": "a", "output": "b"}\n', encoding="utf-8")
    return RunConfig.model_validate(
        {
            "model": {"name_or_path": str(model)},
            "data": {"files": [str(data)]},
            "run": {"name": "try", "devices": "cpu", "engine_host": "thread"},
        }
    )


@pytest.fixture
def run(tmp_path: Path, config: RunConfig) -> RunFolder:
    return folder.create(tmp_path / "runs", "try", files.dump(config))


@pytest.fixture
def body(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Job], Result]], None]:
    """Give every job this body."""

    def use(function: Callable[[Job], Result]) -> None:
        monkeypatch.setattr(engine, "_body", lambda name: function)

    return use
