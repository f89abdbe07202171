"""An empty folder, runs written by the tests, and the program to be called in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stand_in import FakeLink, Said

from core.config import files
from core.config.schema import RunConfig
from core.record import events as ev
from core.record import folder
from core.record.folder import RunFolder
from core.record.journal import Journal
from core.record.lock import RunLock
from core.run import link
from tui.__main__ import main


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in an empty folder, with its own list of runs."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("FINETUI_RUNS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder that torch-free checks accept: a configuration and a safetensors header."""
    place = tmp_path / "tiny"
    place.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
        "vocab_size": 8,
    }  # fmt: skip
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shape = {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}
    header = json.dumps({"model.layers.0.self_attn.q_proj.weight": shape}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(64)
    (place / "model.safetensors").write_bytes(weights)
    return place


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"instruction": f"say {n}", "output": f"{n}"} for n in range(3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def flags(model: Path, rows: Path) -> list[str]:
    """The settings a training cannot do without."""
    return ["--model.name_or_path", str(model), "--data.files", str(rows), "--run.devices", "cpu"]


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Write a run with these events into ``./runs``."""

    def make(name: str, *events: ev.Event) -> RunFolder:
        made = folder.create(tmp_path / "here" / "runs", name, files.dump(RunConfig()))
        journal = Journal(made.events, attempt=1)
        for event in events:
            journal.append(event)
        journal.close()
        return made

    return make


@pytest.fixture
def held() -> Iterator[Callable[[RunFolder], None]]:
    """Make a run live: somebody holds its lock until the test ends."""
    locks: list[RunLock] = []
    yield lambda run: locks.append(RunLock(run.lock))
    for lock in locks:
        lock.release()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeLink]:
    """Put the fake in place of the real Link, with nothing played yet."""
    for name, value in (("script", []), ("on_send", {}), ("sent", []), ("launched", [])):
        monkeypatch.setattr(FakeLink, name, value)
    monkeypatch.setattr(link, "Link", FakeLink)
    return FakeLink


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run ``finetui`` with these words."""

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Said(code, captured.out, captured.err)

    return run
