"""What the tests of the screen share: a fixed clock zone, small data, runs that replay a journal.

`journals/demo.jsonl` was recorded from a real run of the demo (training, then merge) on a machine
without a GPU; its paths were shortened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from idle import IdleLinks

from core.config import files
from core.config.schema import RunConfig
from core.record.folder import RunFolder, create
from tui.app import FinetuiApp

JOURNALS = Path(__file__).parent / "journals"

ROWS = [
    {"instruction": "How do I reset my password?", "output": "Tap Forgot password."},
    {"instruction": "What does the plan cost?", "output": "Five euros a month."},
    {"instruction": "Where is my parcel?", "output": ""},
    {"instruction": "\x1b]0;owned\x07[red]bold[/red] \x1b[31mred", "output": "[b]No[/b]\x1b[2J."},
]


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The same time zone, terminal and folder everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    time.tzset()
    monkeypatch.chdir(tmp_path)
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def data_file() -> Path:
    """Four rows in the current folder: two good, one without an answer, one hostile."""
    path = Path("rows.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where runs go."""
    return tmp_path / "runs"


@pytest.fixture
def make_run(root: Path, data_file: Path) -> Callable[..., RunFolder]:
    """Makes a run folder whose journal is the recorded one up to a line that holds `until`."""

    def make(until: str = "", name: str = "support-bot") -> RunFolder:
        config = RunConfig.model_validate({"data": {"files": [str(data_file)]}})
        folder = create(root, name, files.dump(config))
        lines = (JOURNALS / "demo.jsonl").read_text(encoding="utf-8").splitlines()
        if until:
            end = next(n for n, line in enumerate(lines) if until in line)
            lines = lines[: end + 1]
        folder.events.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return make


@pytest.fixture
def links() -> IdleLinks:
    return IdleLinks()


@pytest.fixture
def make_app(root: Path, links: IdleLinks) -> Callable[..., FinetuiApp]:
    """Makes an app on idle links."""

    def make(folder: RunFolder | None = None, config: RunConfig | None = None) -> FinetuiApp:
        return FinetuiApp(root, folder, config, low_bandwidth=False, links=links)

    return make
