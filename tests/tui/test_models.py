"""How often the hub is asked for the model in the form."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.model.look import Look
from tui.models import Models


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def look_at(name: str, revision: str | None = None) -> Look:
        names.append(f"{name}@{revision}")
        return Look(None)

    monkeypatch.setattr("core.model.look.look_at", look_at)
    return names


def test_the_hub_is_asked_once_in_half_a_minute(asked: list[str]) -> None:
    now = [0.0]
    models = Models(lambda: now[0])
    first = models.look_at("some/model", None)
    now[0] = 29
    assert models.look_at("some/model", None) is first
    assert asked == ["some/model@None"]
    models.look_at("some/model", "v2")
    models.look_at("some/model", "v2")
    assert asked == ["some/model@None", "some/model@v2"]
    now[0] = 60
    models.look_at("some/model", "v2")
    assert len(asked) == 3


def test_a_folder_is_read_each_time(asked: list[str], tmp_path: Path) -> None:
    """It may be filled meanwhile, and costs milliseconds."""
    models = Models(lambda: 0.0)
    for name in (str(tmp_path), str(tmp_path), "./not/there/yet", "./not/there/yet"):
        models.look_at(name, None)
    assert len(asked) == 4
