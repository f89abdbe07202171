"""Draw the pictures of the documentation: the real app, on the recorded journal of a real run.

    make screenshots

Every number in them was measured when `docs/recording/` was made: a run of the demo, trained and
merged on a machine without a GPU. The same code and recording give the same bytes. When the demo
has changed, record it anew:

    finetui demo --headless
    python docs/make_screenshots.py runs/demo
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
# The idle stand-in for the link is a part of the screen's tests; here it draws instead.
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tui")]

from idle import IdleLinks, settle  # noqa: E402

from core.config import files  # noqa: E402
from core.config.schema import RunConfig  # noqa: E402
from core.record.folder import RunFolder, create  # noqa: E402
from tui.app import FinetuiApp  # noqa: E402

RECORDING = RunFolder(ROOT / "docs" / "recording")
PICTURES = ROOT / "docs" / "screenshots"
MIDWAY = 0.7
"""Part of the steps that are done in the pictures of a training."""

Moment = Literal["before", "midway", "delivered"]


@dataclass(frozen=True)
class Picture:
    """One picture: its file's name, the terminal's size, the moment, and the keys pressed then."""

    name: str
    size: tuple[int, int]
    moment: Moment
    keys: tuple[str, ...] = ()


PICTURES_TO_DRAW = (
    Picture("first-start", (120, 40), "before"),
    Picture("ready", (120, 40), "before", ("d",)),
    Picture("training-160x48", (160, 48), "midway"),
    Picture("training-120x40", (120, 40), "midway"),
    Picture("training-80x24", (80, 24), "midway"),
    Picture("tokens", (120, 40), "midway", ("1", "z", "down", "v", "v")),
    Picture("delivered", (120, 40), "delivered", ("6",)),
)


def settings() -> RunConfig:
    """The settings of the recorded run."""
    return files.load(RECORDING.config).config


def record(run: RunFolder) -> None:
    """Keep a run's settings and journal as the recording, with paths as they look from here."""
    RECORDING.path.mkdir(exist_ok=True)
    for source, copy in ((run.config, RECORDING.config), (run.events, RECORDING.events)):
        text = source.read_text(encoding="utf-8")
        for place in (ROOT, run.path.parents[1]):
            text = text.replace(f"{place}/", "")
        copy.write_text(text, encoding="utf-8")


def replayed(root: Path, moment: Moment) -> RunFolder:
    """A run folder with the recording up to a moment."""
    folder = create(root, "demo", files.dump(settings()))
    lines = RECORDING.events.read_text(encoding="utf-8").splitlines()
    if moment == "midway":
        lines = lines[: _midway(lines)]
    folder.events.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _midway(lines: list[str]) -> int:
    total = 0
    for number, line in enumerate(lines, 1):
        told = json.loads(line)
        if told["type"] == "TrainingStarted":
            total = told["event"]["total_steps"]
        if told["type"] == "StepDone" and told["event"]["step"] >= MIDWAY * total:
            return number
    raise SystemExit("the recording holds no training")


async def draw(picture: Picture) -> str:
    """The picture as SVG."""
    root = Path("runs")
    folder = replayed(root, picture.moment) if picture.moment != "before" else None
    app = FinetuiApp(root, folder, low_bandwidth=False, demo=settings, links=IdleLinks())
    async with app.run_test(size=picture.size) as pilot:
        await settle(pilot)
        for key in picture.keys:
            await pilot.press(key)
            await settle(pilot)
        return app.export_screenshot(title="finetui")


def in_a_steady_place(work: Callable[[], None]) -> None:
    """Do `work` in an empty folder beside the sample data, in UTC and without the user's state."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "sample_data").symlink_to(ROOT / "sample_data")
        os.environ |= {"TZ": "UTC", "XDG_STATE_HOME": f"{place}/state", "HF_HOME": f"{place}/hub"}
        for name in ("NO_COLOR", "SSH_CONNECTION", "FINETUI_RUNS"):
            os.environ.pop(name, None)
        time.tzset()
        os.chdir(place)
        try:
            work()
        finally:
            os.chdir(ROOT)


def draw_all() -> None:
    """Draw every picture."""
    PICTURES.mkdir(exist_ok=True)
    for picture in PICTURES_TO_DRAW:
        shutil.rmtree("runs", ignore_errors=True)
        path = PICTURES / f"{picture.name}.svg"
        path.write_text(asyncio.run(draw(picture)), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    if sys.argv[1:]:
        record(RunFolder(Path(sys.argv[1]).resolve()))
    in_a_steady_place(draw_all)
