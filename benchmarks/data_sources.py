"""What reading costs: rows a second from every kind of file, and the screen's random access.

    python benchmarks/data_sources.py read --rows 300000     # every kind of file, on one core
    python benchmarks/data_sources.py index --megabytes 1000 # first rows, whole scan, jumps

Each prints a table. The rows are made up from a seed, about 1 KB each; processor time is the least
of three, so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from limits import at_least

from core.data.chats.formats import to_chat
from core.data.read.index import RowIndex
from core.data.read.sources import Row, read_rows

Rows = list[dict[str, str]]
SCREEN_ROWS = 50


def made_up(count: int, seed: int = 7) -> Rows:
    """Alpaca rows of random words, with quotes and line ends as texts have them."""
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(5000)]
    return [
        {
            "instruction": f'{" ".join(rng.choices(words, k=30))}\n"{rng.choice(words)}"?',
            "input": "",
            "output": " ".join(rng.choices(words, k=120)),
        }
        for _ in range(count)
    ]


def write(folder: Path, rows: Rows) -> list[Path]:
    """The same rows as a file of each kind."""
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    table = pa.Table.from_pylist(rows)
    (folder / "rows.jsonl").write_bytes(lines)
    (folder / "rows.json").write_text(json.dumps(rows, indent=1))
    (folder / "rows.txt").write_text("\n\n".join(row["output"] for row in rows))
    (folder / "rows.utf16.jsonl").write_bytes(lines.decode().encode("utf-16"))
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(lines, 6))
    with pa.CompressedOutputStream(str(folder / "rows.jsonl.zst"), "zstd") as packed:
        packed.write(lines)
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    pq.write_table(table, folder / "rows.parquet")
    with ipc.new_stream(folder / "rows.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=1000)
    return sorted(folder.iterdir())


def least(work: Callable[[], None], repeats: int = 3) -> float:
    """Processor seconds of the best of some repeats."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def read(count: int) -> None:
    """Rows of each kind of file, read; of jsonl also taken as chats."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), made_up(count))
        text_bytes = (Path(folder) / "rows.jsonl").stat().st_size

        def through(path: Path) -> None:
            for _ in read_rows([path]):
                pass

        def chats(path: Path) -> None:
            for row in read_rows([path]):
                if isinstance(row, Row):
                    to_chat(row.value, "auto")

        print("| file | MB | rows/s | MB/s of the file | MB/s as jsonl |")
        print("| --- | --- | --- | --- | --- |")
        for path in paths:
            size = path.stat().st_size
            seconds = least(lambda path=path: through(path))
            print(_line(path.name, size, count, seconds, text_bytes))
        path = Path(folder) / "rows.jsonl"
        seconds = least(lambda: chats(path))
        print(_line("rows.jsonl, to chats", text_bytes, count, seconds, text_bytes))


def _line(name: str, size: int, count: int, seconds: float, text_bytes: int) -> str:
    return (
        f"| {name} | {size / 1e6:.0f} | {count / seconds:,.0f} | {size / seconds / 1e6:.0f} | "
        f"{text_bytes / seconds / 1e6:.0f} |"
    )


def index(megabytes: int) -> None:
    """Random access to a jsonl of this size, and to a tenth of it in the other kinds."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), made_up(megabytes * 100))
        large = Path(folder) / "large.jsonl"
        block = (Path(folder) / "rows.jsonl").read_bytes()
        with large.open("wb") as file:
            while file.tell() < megabytes * 1_000_000:
                file.write(block)
        print("| file | MB | first rows | all rows | worst jump | memory it takes |")
        print("| --- | --- | --- | --- | --- | --- |")
        del block
        fresh = multiprocessing.get_context("spawn")  # a process each, for its own memory
        with fresh.Pool(1, maxtasksperchild=1) as pool:
            for path in [large, *paths]:
                print(pool.apply(_access, (path,)))


def _access(path: Path) -> str:
    before = _peak_megabytes()
    began = time.perf_counter()
    rows = RowIndex(path)
    rows.scan(1 << 20)
    for number in range(min(SCREEN_ROWS, rows.count)):
        rows.row(number)
    first = time.perf_counter() - began
    began = time.perf_counter()
    rows.scan_all()
    scanned = time.perf_counter() - began
    rng, worst = random.Random(7), 0.0
    for _ in range(300):
        start = rng.randrange(rows.count)
        began = time.perf_counter()
        for number in range(start, min(start + SCREEN_ROWS, rows.count)):
            rows.row(number)
        worst = max(worst, time.perf_counter() - began)
    memory = _peak_megabytes() - before
    rows.close()
    return (
        f"| {path.name} | {path.stat().st_size / 1e6:,.0f} | {first * 1000:.0f} ms | "
        f"{scanned:.2f} s | {worst * 1000:.1f} ms | {memory:.0f} MB |"
    )


def _peak_megabytes() -> float:
    # Not getrusage: its peak is that of the process that started this one, where that was higher.
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("read", "index"))
    parser.add_argument("--rows", type=at_least(1), default=300_000)
    parser.add_argument("--megabytes", type=at_least(1), default=1000)
    asked = parser.parse_args()
    if asked.what == "read":
        read(asked.rows)
    else:
        index(asked.megabytes)


if __name__ == "__main__":
    main()
