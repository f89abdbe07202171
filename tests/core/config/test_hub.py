"""A model that cannot be had is told soon, in words, with the name that was probably meant."""

from __future__ import annotations

import time
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import file_download

from core.config import hub
from core.config.errors import InputError
from core.config.hub import local_folder, model_file
from core.config.names import nearest_path


class ConnectError(Exception):
    """As the hub's client raises it where there is no network."""


ConnectError.__module__ = "httpx2"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No network; the addresses that were asked for."""
    asked: list[str] = []

    def fails(url: str) -> None:
        asked.append(url)
        raise ConnectError("[Errno -2] Name or service not known")

    def never(*args: object, **named: object) -> str:
        raise AssertionError("the client would try again and again")

    monkeypatch.setattr(file_download, "get_hf_file_metadata", fails)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", never)
    monkeypatch.setattr(hub, "_AGAIN_SECONDS", 0.01)
    return asked


def test_a_hub_that_is_not_there_is_asked_twice(offline: list[str]) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached for no/such") as caught:
        model_file("no/such", "config.json")
    assert caught.value.kind == "hub_unreachable"
    assert len(offline) == 2
    assert time.monotonic() - began < 2


def test_what_the_cache_knows_not_to_exist_is_not_missed(
    offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = file_download._CACHED_NO_EXIST
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **n: lacks)
    assert model_file("owner/name", "chat_template.jinja") is None


def test_a_file_in_the_cache_is_left_to_the_client(
    offline: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *a, **n: "/c/config.json")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **n: "/c/config.json")
    assert model_file("owner/name", "config.json") == Path("/c/config.json")
    assert offline == []


def test_the_nearest_model_folder_is_named(
    offline: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("small-model", "small-mode"):
        (tmp_path / "models" / name).mkdir(parents=True)
    (tmp_path / "models/small-model/config.json").write_text("{}")
    with pytest.raises(InputError) as caught:
        model_file("models/smal-model", "config.json")
    assert caught.value.remedies[0] == "did you mean the folder models/small-model?"
    with pytest.raises(InputError, match="no model folder") as caught:
        local_folder(f"{tmp_path}/models/smal-model")
    assert caught.value.remedies[0] == f"did you mean the folder {tmp_path}/models/small-model?"


def test_nothing_is_suggested_where_nothing_is_near(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    assert nearest_path(tmp_path / "rows.jsn") == str(tmp_path / "rows.jsonl")
    assert nearest_path(tmp_path / "weather.csv") is None
    assert nearest_path(tmp_path / "no" / "rows.jsonl") is None
    assert nearest_path(tmp_path / "rows.jsn", holding="config.json") is None
