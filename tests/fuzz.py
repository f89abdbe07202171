"""Throw dirty files at the readers and formats for some minutes: `make fuzz`.

    python tests/fuzz.py [--seconds 600] [--seed 1] [--write docs/fuzz.md]

Ends with 1 at the first file that breaks a promise, and shows it. A file that takes longer than a
minute ends the program with a traceback of where it hangs.
"""

from __future__ import annotations

import argparse
import faulthandler
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import orjson
import pyarrow
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "core" / "data"))

from dirty_files import SORTS, look_through

_ROUND = 500
_HANG_SECONDS = 60


@dataclass
class Counts:
    """What was thrown so far."""

    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="a page for the result")
    asked = parser.parse_args()
    counts, began, rounds = Counts(), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - began < asked.seconds:
            for sort in SORTS:
                seed(asked.seed + rounds)(thrower(sort, Path(folder), counts))()
            rounds += 1
    page = told(counts, time.monotonic() - began, asked.seconds, asked.seed)
    print(page)
    if asked.write:
        asked.write.write_text(page, encoding="utf-8")
    return 0


def thrower(sort: str, folder: Path, counts: Counts) -> Callable[[], None]:
    """A round of files of one sort."""

    @given(data=st.data())
    @settings(
        max_examples=_ROUND, deadline=None, database=None, derandomize=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def thrown(data: st.DataObject) -> None:
        name, content = data.draw(SORTS[sort])
        path = folder / name
        path.write_bytes(content)
        faulthandler.dump_traceback_later(_HANG_SECONDS, exit=True)
        began = time.monotonic()
        counts.rows[sort] += look_through(path)
        counts.slowest = max(counts.slowest, time.monotonic() - began)
        faulthandler.cancel_dump_traceback_later()
        counts.files[sort] += 1
        counts.bytes[sort] += len(content)

    return thrown


def told(counts: Counts, seconds: float, asked: float, first_seed: int) -> str:
    """The result as a page."""
    lines = [
        f"| {sort} | {counts.files[sort]:,} | {counts.bytes[sort] / 1e6:,.1f} | "
        f"{counts.rows[sort]:,} |"
        for sort in SORTS
    ]
    return "\n".join(
        [
            "# Fuzzing the readers",
            "",
            "Generated dirty files are read to the end, looked at through the random access of the "
            "screen, and every row is taken in every format with several mappings. Nothing but our "
            "own errors may come out; each line of jsonl comes exactly once with its number; "
            "random access and reading agree; a file of some kilobytes takes under 5 seconds.",
            "",
            f"    python tests/fuzz.py --seconds {asked:.0f} --seed {first_seed}",
            "",
            f"{seconds:.0f} seconds, {counts.files.total():,} files, "
            f"{counts.rows.total():,} rows, no broken promise, no hang; the slowest file took "
            f"{counts.slowest:.2f} s. Python {platform.python_version()}, "
            f"hypothesis {hypothesis.__version__}, pyarrow {pyarrow.__version__}, "
            f"orjson {orjson.__version__}.",
            "",
            "| files | number | MB | rows |",
            "| --- | --- | --- | --- |",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
