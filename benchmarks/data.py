"""What the data path costs, row by row of the table in docs/data.md.

    python benchmarks/data.py --megabytes 1000 --folder DIR --model DIR

A jsonl file of about 1 KB a row is made from a seed in the folder (kept there for the next time);
one row in fifty repeats another; ``--rows`` makes other rows. Each measure runs in a process of its
own; times are the least of ``--repeats``, processor time is that of the process and its children,
memory the most that they held together. Without ``--model`` tokens are left out. Prints a Markdown
table, and all figures as JSON, with the load of the machine and how long it takes for a loop.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from limits import at_least

ROWS_NEAR = 100_000
JUMPS = 1000
SCREEN_ROWS = 50
SEED = 7
OTHER_ROWS = ("chats", "numbers", "csv")


def make(path: Path, megabytes: int) -> None:
    """Alpaca rows of random words, until the file is large enough."""
    rng = random.Random(SEED)
    words = _words(rng)
    done, number, line = 0, 0, ""
    with path.open("w", encoding="utf-8") as file:
        while done < megabytes * 1_000_000:
            if number % 50 != 49:
                asked, answer = rng.choices(words, k=50), rng.choices(words, k=100)
                row = {"instruction": " ".join(asked), "input": "", "output": " ".join(answer)}
                line = json.dumps(row) + "\n"
            done, number = done + len(line), number + 1
            file.write(line)


def make_other(path: Path, megabytes: int, kind: str) -> None:
    """Rows that cost more than those of ``make``: chats of several turns with Markdown and letters
    that are not ASCII, tables of long numbers, or a csv file of such answers."""
    rng = random.Random(SEED)
    words = _words(rng)

    def sentence(count: int) -> str:
        return " ".join(rng.choices(words, k=count)).capitalize() + rng.choice(".?!")

    def answer() -> str:
        parts = [sentence(rng.randint(20, 50)) for _ in range(rng.randint(1, 3))]
        parts.append("\n".join(f"{number}. **{rng.choice(words)}**: 5" for number in range(1, 5)))
        parts.append(f'```\n{rng.choice(words)}[{rng.randint(0, 99)}] = "{rng.choice(words)}"\n```')
        parts.append(f"“{sentence(6)}” – {rng.randint(10, 99)}% in {rng.randint(1900, 2024)}, née.")
        return "\n\n".join(rng.sample(parts, rng.randint(1, len(parts))))

    def number() -> str:
        return f"{rng.getrandbits(40)} | {rng.randint(1, 10**6) / 100:.2f} | {rng.randint(10, 99)}"

    done = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if kind == "csv":
            table.writerow(["prompt", "completion"])
        while done < megabytes * 1_000_000:
            if kind == "csv":
                asked, told = sentence(12), answer()
                table.writerow([asked, told])
                done += len(asked) + len(told)
                continue
            row: dict[str, Any]
            if kind == "numbers":
                told = "\n".join(number() for _ in range(30))
                row = {"instruction": sentence(10), "input": "", "output": told}
            else:
                turns = [(sentence(12), answer()) for _ in range(rng.randint(1, 4))]
                row = {"messages": [
                    {"role": role, "content": text}
                    for turn in turns
                    for role, text in zip(("user", "assistant"), turn, strict=True)
                ]}  # fmt: skip
            line = json.dumps(row, ensure_ascii=False) + "\n"
            done += len(line.encode())
            file.write(line)


def _words(rng: random.Random) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(5000)]


def screen(options: argparse.Namespace) -> dict[str, Any]:
    """The first rows of the file, then jumps to any place once all rows are found."""
    from core.data.read.index import RowIndex

    begin = time.perf_counter()
    index = RowIndex(options.file)
    index.scan()
    for number in range(SCREEN_ROWS):
        index.row(number)
    first = time.perf_counter() - begin
    index.scan_all()
    rng, worst = random.Random(SEED), 0.0
    for _ in range(JUMPS):
        place = rng.randrange(index.count - SCREEN_ROWS)
        begin = time.perf_counter()
        for number in range(place, place + SCREEN_ROWS):
            index.row(number)
        worst = max(worst, time.perf_counter() - begin)
    index.close()
    return {"first_rows_seconds": first, "slowest_jump_seconds": worst, "rows": index.count}


def scan(options: argparse.Namespace) -> dict[str, Any]:
    """Every row read, checked, cleaned, counted, and compared with all others; then the figures."""
    from core.data.facts import facts_of
    from core.data.survey import survey

    begin, spent = time.perf_counter(), processor_seconds()
    found = survey(_config(options))
    seconds, spent = time.perf_counter() - begin, processor_seconds() - spent
    facts_of(found)
    tally = found.tally
    return {
        "scan_processor_seconds": spent,
        "seconds_with_statistics": time.perf_counter() - begin,
        "seconds": seconds,
        "bytes": options.file.stat().st_size,
        "rows": tally.read,
        "rejected": dict(tally.rejected),
    }


def near(options: argparse.Namespace) -> dict[str, Any]:
    """Near duplicates among rows of 1 KB, read and compared."""
    from core.data.survey import survey

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "near.jsonl"
        with options.file.open("rb") as source, path.open("wb") as file:
            for _ in range(ROWS_NEAR):
                file.write(source.readline())
        config = _config(options)
        config.data.files = [str(path)]
        config.clean.near_duplicates = True
        begin = time.perf_counter()
        found = survey(config)
        seconds = time.perf_counter() - begin
        found.close()
    return {"seconds": seconds, "rows": found.done, "rejected": dict(found.tally.rejected)}


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """A whole preparation: read, clean, split, tokenize, pack, freeze."""
    from core.config.schema import RunConfig
    from core.data import prepare as module
    from core.record.folder import RunFolder
    from core.record.job import Job

    config: RunConfig = _config(options)
    config.model.name_or_path = str(options.model)
    with tempfile.TemporaryDirectory(dir=options.file.parent) as folder:
        job = Job("prepare", RunFolder(Path(folder)), config, lambda event: None)
        begin = time.perf_counter()
        result = module.prepare(job)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "bytes": options.file.stat().st_size, **result}


def _config(options: argparse.Namespace) -> Any:
    from core.config.schema import RunConfig

    return RunConfig.model_validate({"data": {"files": [str(options.file)]}})


MEASURES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "screen": screen, "scan": scan, "near": near, "prepare": prepare,
}  # fmt: skip


def measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The quickest of several runs of one measure, with the most memory that any of them took."""
    best: dict[str, Any] = {}
    peak = 0
    for _ in range(options.repeats if name != "prepare" else 1):
        words = [sys.executable, __file__, "--measure", name, "--file", str(options.file)]
        if options.model:
            words += ["--model", str(options.model)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        while child.poll() is None:
            peak = max(peak, _memory(child.pid))
            time.sleep(0.05)
        assert child.stdout is not None
        told = child.stdout.read()
        if child.returncode != 0:
            raise SystemExit(f"{name} ended with status {child.returncode}; above is why")
        found = json.loads(told)
        if not best or found.get("seconds", 0) < best.get("seconds", 1):
            best = found
    return best | {"peak_bytes": peak}


def _memory(pid: int) -> int:
    """Resident bytes of a process and its children; what they share is counted for each."""
    try:
        whole = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (whole, *whole.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures as docs/data.md has them."""
    lines = ["| work | measured | processor | memory |", "| --- | --- | --- | --- |"]

    def add(work: str, value: str, name: str) -> None:
        seconds, peak = found[name]["processor_seconds"], found[name]["peak_bytes"] / 1e6
        lines.append(f"| {work} | {value} | {seconds:,.1f} s | {peak:,.0f} MB |")

    if "screen" in found:
        add("first rows", f"{found['screen']['first_rows_seconds'] * 1000:,.0f} ms", "screen")
        jump = found["screen"]["slowest_jump_seconds"] * 1000
        add(f"slowest of {JUMPS:,} jumps, {SCREEN_ROWS} rows each", f"{jump:,.1f} ms", "screen")
    if "scan" in found:
        rate = found["scan"]["bytes"] / found["scan"]["seconds"] / 1e6
        each = found["scan"]["scan_processor_seconds"] / found["scan"]["bytes"] * 1e9
        add("full scan", f"{rate:,.0f} MB/s, {each:,.1f} processor seconds a GB", "scan")
    if "near" in found:
        seconds = found["near"]["seconds"]
        add(f"near duplicates, {found['near']['rows']:,} rows", f"{seconds:,.1f} s", "near")
    if "prepare" in found:
        seconds = found["prepare"]["seconds"]
        add(f"preparation, {found['prepare']['read']:,} rows", f"{seconds:,.1f} s", "prepare")
    return "\n".join(lines)


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(time.ru_utime + time.ru_stime for time in times)


def loop() -> float:
    """Processor seconds of ten million rounds in Python: by how much machines differ."""
    begin = time.process_time()
    sum(range(10_000_000))
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=at_least(1), default=1000)
    parser.add_argument("--rows", choices=("plain", *OTHER_ROWS), default="plain")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--model", type=Path, help="a folder with a tokenizer: prepare too")
    parser.add_argument("--only", choices=MEASURES, nargs="+", default=list(MEASURES))
    parser.add_argument("--repeats", type=at_least(1), default=3)
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = MEASURES[options.measure](options)
        found["processor_seconds"] = processor_seconds()
        print(json.dumps(found))
        return
    for option, folder in (("--folder", options.folder), ("--model", options.model)):
        if folder and not folder.is_dir():
            parser.error(f"{option}: there is no folder {folder}")
    if options.only == ["prepare"] and not options.model:
        parser.error("--only prepare: --model names a folder with a tokenizer")
    options.file = options.folder / f"finetui-{options.megabytes}.jsonl"
    if options.rows != "plain":
        ending = "csv" if options.rows == "csv" else "jsonl"
        options.file = options.file.with_name(f"{options.file.stem}-{options.rows}.{ending}")
    if not options.file.exists() and options.rows != "plain":
        make_other(options.file, options.megabytes, options.rows)
    elif not options.file.exists():
        make(options.file, options.megabytes)
    names = [name for name in options.only if name != "prepare" or options.model]
    found = {name: measured(name, options) for name in names}
    print(table(found))
    machine = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], "loop": loop()}
    print(json.dumps({**machine, **found}, indent=2))


if __name__ == "__main__":
    main()
