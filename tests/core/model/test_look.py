"""What is seen of a model that is whole, half there, or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config.errors import InputError
from core.model import look
from core.model.look import look_at


def test_a_whole_model_is_read_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = look.shape_of
    asked: list[str] = []

    def counted(name: str, revision: str | None = None) -> object:
        asked.append(name)
        return read(name, revision)

    monkeypatch.setattr(look, "shape_of", counted)
    seen = look_at(str(tiny_model))
    assert seen.objections("all-linear") == (None, None)
    assert "q_porj" in str(seen.objections(["q_porj"])[1])
    assert seen.known().layers == 2
    assert asked == [str(tiny_model)]


def test_a_config_json_alone_has_a_shape(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    seen, whole = look_at(str(tmp_path)), look_at(str(tiny_model))
    model, layers = seen.objections(["q_porj"])
    assert "holds no weights" in str(model)
    assert layers == whole.objections(["q_porj"])[1] is not None
    assert seen.objections("all-linear") == (model, None)
    assert seen.known().hidden_size == whole.known().hidden_size


def test_what_is_no_model_has_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": -1}))
    broken = look_at(str(tmp_path))
    # What a run would meet first, and why nothing can be reckoned.
    assert "holds no weights" in str(broken.objections(["q_porj"])[0])
    with pytest.raises(InputError, match="hidden_size"):
        broken.known()
    (tmp_path / "config.json").unlink()
    gone = look_at(str(tmp_path))
    assert "has no config.json" in str(gone.objections("all-linear")[0])
    with pytest.raises(InputError, match=r"has no config\.json"):
        gone.known()


def test_a_hub_that_does_not_answer_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, revision: str | None = None) -> object:
        raise InputError("the hub cannot be reached", kind="hub_unreachable")

    monkeypatch.setattr(look, "shape_of", unreachable)
    seen = look_at("some/model")
    assert seen.objections(["q_proj"]) == (None, None)
    with pytest.raises(InputError, match="cannot be reached"):
        seen.known()
