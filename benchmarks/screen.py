"""What the screen costs: time to the first paint, memory and processor at rest, bytes sent, and
whether an open screen slows the training down.

    python benchmarks/screen.py paint                      # five starts at 120x40
    python benchmarks/screen.py rest --seconds 30          # an idle screen
    python benchmarks/screen.py training --model DIR --data FILE   # step times with and without
    python benchmarks/screen.py inspector --data FILE      # a large file: first rows, then jumps

Each prints one JSON object. A screen runs in a real pseudo-terminal whose output is read all the
time, as a terminal would.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import json
import os
import pty
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

import psutil
from limits import at_least, positive

from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from core.record.events import JobFailed, StepDone
from core.record.journal import Tail, read
from core.run.link import Link

SIGNS = (b"Data", b"Config", b"Graphs", b"Log")
"""What the first frame shows."""

FILLED = b"lora_alpha"
"""What the demo's screen shows once its panes are filled."""


class Screen:
    """``finetui`` in a pseudo-terminal of its own, with its output counted and thrown away."""

    def __init__(self, arguments: list[str], columns: int, rows: int, folder: Path):
        self.sent_bytes = 0
        self.painted_seconds: float | None = None
        self.filled_seconds: float | None = None
        self._missing = set(SIGNS)
        self._window = b""
        self.begin = time.perf_counter()
        self._wanted: bytes | None = None
        self._recent = b""
        self._seen_at: float | None = None
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tui", *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=folder,
            env=os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )  # fmt: skip
        os.close(slave)
        self._master = master
        threading.Thread(target=self._read, daemon=True).start()

    def wait_for_paint(self, seconds: float = 30) -> float:
        """Seconds from the start of the process to the complete first screen."""
        end = time.perf_counter() + seconds
        while self.painted_seconds is None:
            if time.perf_counter() > end or self.process.poll() is not None:
                raise RuntimeError(f"no first screen; missing {self._missing}")
            time.sleep(0.005)
        return self.painted_seconds

    def press(self, keys: bytes) -> None:
        """Type."""
        self._seen_at = None
        os.write(self._master, keys)

    def wait_for(self, text: bytes, seconds: float) -> float:
        """When this text was first sent to the terminal, by the performance counter."""
        self._wanted = text
        end = time.perf_counter() + seconds
        while self._seen_at is None:
            if time.perf_counter() > end or self.process.poll() is not None:
                raise RuntimeError(f"{text!r} was not shown")
            time.sleep(0.001)
        self._wanted = None
        return self._seen_at

    def close(self) -> None:
        """Hang up, as a lost connection does."""
        self.process.send_signal(signal.SIGHUP)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._master, 1 << 16)
            except OSError:
                return
            self.sent_bytes += len(chunk)
            wanted = self._wanted
            if wanted is not None and self._seen_at is None:
                self._recent = self._recent[-200:] + chunk
                if wanted in self._recent:
                    self._seen_at, self._recent = time.perf_counter(), b""
            if self.filled_seconds is None:
                self._window = self._window[-64:] + chunk
                self._missing -= {sign for sign in self._missing if sign in self._window}
                if not self._missing and self.painted_seconds is None:
                    self.painted_seconds = time.perf_counter() - self.begin
                if FILLED in self._window:
                    self.filled_seconds = time.perf_counter() - self.begin


def paint(options: argparse.Namespace) -> dict[str, object]:
    """Several starts; the first warms the file cache and does not count."""
    times, filled = [], []
    for _ in range(options.starts + 1):
        with tempfile.TemporaryDirectory() as folder:
            screen = Screen(["demo"], options.columns, options.rows, Path(folder))
            times.append(screen.wait_for_paint())
            time.sleep(2.5)
            if screen.filled_seconds is None:
                raise RuntimeError("the panes were not filled within 2.5 seconds")
            filled.append(screen.filled_seconds)
            screen.close()
    counted = times[1:]
    return {
        "what": "first paint", "columns": options.columns, "rows": options.rows,
        "median_seconds": round(statistics.median(counted), 3),
        "all_seconds": [round(value, 3) for value in counted],
        "panes_filled_median_seconds": round(statistics.median(filled[1:]), 3),
    }  # fmt: skip


def rest(options: argparse.Namespace) -> dict[str, object]:
    """Memory, processor and bytes of a screen that nobody touches."""
    with tempfile.TemporaryDirectory() as folder:
        screen = Screen(["demo"], options.columns, options.rows, Path(folder))
        screen.wait_for_paint()
        time.sleep(5)
        process = psutil.Process(screen.process.pid)
        before, sent = process.cpu_times(), screen.sent_bytes
        time.sleep(options.seconds)
        after = process.cpu_times()
        used = (after.user + after.system) - (before.user + before.system)
        found = {
            "what": "at rest", "seconds": options.seconds,
            "rss_mb": round(process.memory_info().rss / 1e6, 1),
            "cpu_percent_of_a_core": round(100 * used / options.seconds, 2),
            "sent_bytes_per_second": round((screen.sent_bytes - sent) / options.seconds),
        }  # fmt: skip
        screen.close()
    return found


def training(options: argparse.Namespace) -> dict[str, object]:
    """One long training, watched and unwatched in turn; step times of each leg."""
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig.model_validate(
            {
                "model": {"name_or_path": str(Path(options.model).absolute())},
                "data": {"files": [str(Path(options.data).absolute())], "max_length": 512},
                "train": {"max_steps": 1_000_000, "save_steps": 0, "num_train_epochs": 1000,
                          "gradient_accumulation_steps": 1},
                "evaluate": {"eval_strategy": "no", "eval_on_start": False},
                "run": {"name": "screen-cost"},
            }
        )  # fmt: skip
        link = Link.start(config, Path(folder))
        try:
            _wait_for_step(link, 20)
            legs = [
                _leg(link, watched, options, Path(folder))
                for pair in range(options.pairs)
                for watched in ((False, True) if pair % 2 == 0 else (True, False))
            ]
        finally:
            link.send("Abort")
            time.sleep(3)
    without = [median for watched, median, _ in legs if not watched]
    watched = [median for watched, median, _ in legs if watched]
    return {
        "what": "step time with and without an open screen", "pairs": options.pairs,
        "without_ms": [round(1000 * value, 2) for value in without],
        "with_ms": [round(1000 * value, 2) for value in watched],
        "median_ratio": round(statistics.median(watched) / statistics.median(without), 4),
        "spread_without": round((max(without) - min(without)) / statistics.median(without), 4),
        "sent_kib_per_second": round(
            statistics.median(sent for open_, _, sent in legs if open_) / 1024, 1
        ),
    }  # fmt: skip


def inspector(options: argparse.Namespace) -> dict[str, object]:
    """First rows of a large file on the screen, and what a key takes that goes far away."""
    data = str(Path(options.data).absolute())
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["demo", "--data.files", data, "--data.eval_files", "[]"]
        screen = Screen(arguments, options.columns, options.rows, Path(folder))
        painted = screen.wait_for_paint()
        first = screen.wait_for(Path(data).name.encode() + b":1", 60) - screen.begin
        screen.press(b"1")
        time.sleep(1)
        jumps = [_jump(screen, b"\x1b[F" if turn % 2 == 0 else b"\x1b[H") for turn in range(10)]
        pages = [_jump(screen, b"\x1b[6~") for _ in range(10)]
        rss = psutil.Process(screen.process.pid).memory_info().rss
        screen.close()
    return {
        "what": "inspector", "bytes": Path(data).stat().st_size,
        "painted_seconds": round(painted, 3), "first_rows_seconds": round(first, 3),
        "jump_ms": [round(1000 * value, 1) for value in sorted(jumps)],
        "page_ms": [round(1000 * value, 1) for value in sorted(pages)],
        "rss_mb": round(rss / 1e6, 1),
    }  # fmt: skip


def _jump(screen: Screen, key: bytes) -> float:
    """Seconds from a key until the screen is told of another row."""
    begin = time.perf_counter()
    screen.press(key)
    seconds = screen.wait_for(b".jsonl:", 30) - begin
    time.sleep(0.3)
    return seconds


def _wait_for_step(link: Link, step: int) -> None:
    tail = Tail(link.folder.events)
    end = time.monotonic() + 300
    while time.monotonic() < end:
        for record in tail.poll():
            if isinstance(record.event, JobFailed):
                raise RuntimeError(record.event.message)
            if isinstance(record.event, StepDone) and record.event.step >= step:
                return
        time.sleep(0.2)
    raise RuntimeError("the training did not begin within five minutes")


def _leg(
    link: Link, watched: bool, options: argparse.Namespace, folder: Path
) -> tuple[bool, float, float]:
    """Median seconds a step, from the journal's own times, and bytes a second of the screen."""
    screen = None
    if watched:
        arguments = ["attach", str(link.folder.path)]
        screen = Screen(arguments, options.columns, options.rows, folder)
        screen.wait_for_paint()
        time.sleep(3)
    begin, sent = time.time(), screen.sent_bytes if screen else 0
    time.sleep(options.seconds)
    end = time.time()
    rate = (screen.sent_bytes - sent) / options.seconds if screen else 0.0
    if screen:
        screen.close()
    times = [
        record.time
        for record in read(link.folder.events)
        if isinstance(record.event, StepDone) and begin <= record.time <= end
    ]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return watched, statistics.median(steps), rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["paint", "rest", "training", "inspector"])
    parser.add_argument("--columns", type=at_least(1), default=120)
    parser.add_argument("--rows", type=at_least(1), default=40)
    parser.add_argument("--starts", type=at_least(1), default=5)
    parser.add_argument("--seconds", type=positive, default=20)
    parser.add_argument("--pairs", type=at_least(1), default=5)
    parser.add_argument("--model", help="a folder; for training")
    parser.add_argument("--data", help="a file; for training and the inspector")
    options = parser.parse_args()
    if options.what == "training" and not Path(options.model or "/dev/null").is_dir():
        parser.error(f"training: --model names a folder, not {options.model}")
    if options.what in ("training", "inspector") and not Path(options.data or "").is_file():
        parser.error(f"{options.what}: --data names a file, not {options.data}")
    kinds = {"paint": paint, "rest": rest, "training": training, "inspector": inspector}
    try:
        print(json.dumps(kinds[options.what](options)))
    except (FinetuiError, RuntimeError, statistics.StatisticsError) as error:
        raise SystemExit(f"{options.what}: {error}") from error


if __name__ == "__main__":
    main()
