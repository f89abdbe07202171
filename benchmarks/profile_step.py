"""Where the time of a training step goes on the GPU: kernel by kernel, and between them.

    python benchmarks/profile_step.py 8b-2x2048 --set memory.limit_gib=7.7 [--set train.fp8=true]

Runs a workload of ``train.py`` with finetui on a random base, records two of its steps with torch's
profiler, and prints for one step: time that the GPU computes, gaps by length and what stands before
the longest, and the kernels that take most. The rows ``tiny`` run without a GPU, too: then the
launches are torch's operations.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from peers import finetui, tokens  # noqa: E402
from peers.meter import Meter  # noqa: E402
from peers.shapes import MODELS, ROWS, Row, dry  # noqa: E402

GPU = torch.cuda.is_available()
_RECORDED = 2
"""Steps that are recorded, the last but one of the run being the last of them."""
_KINDS = {
    "rounding to FP8": ("^_?quantize", "scale_rows"),
    "attention": ("flash", "fmha", "sdpa", "attention"),
    "products": ("gemm", "nvjet", "cutlass", "xmma", "mm"),
    "SwiGLU": ("swiglu",),
    "thin products": ("project", "outward", "settle", "tail_kernel", "gather_kernel", "spread"),
    "norms, rotation": ("rms_", "head_norm", "rotate"),
    "dequantization": ("expand", "adapters_kernel"),
    "loss, embedding": ("cross_entropy", "embed"),
    "copies to and from the host": ("Memcpy HtoD", "Memcpy DtoH"),
}
"""Patterns in the names of kernels, by what they do; the first that fits counts."""


class Recorder(Meter):
    """A meter that records some steps near the end."""

    def __init__(self, row: Row, trace: Path):
        super().__init__(row)
        self._steps, self._trace, self._done = row.steps, trace, 0
        self._profiler: Any = None

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        super().on_step_end(*args, **kwargs)
        self._done += 1
        if self._done == self._steps - 1 - _RECORDED:
            _synchronize()
            activity = torch.profiler.ProfilerActivity
            self._profiler = torch.profiler.profile(
                activities=[activity.CUDA if GPU else activity.CPU]
            )
            self._profiler.__enter__()
        elif self._done == self._steps - 1:
            _synchronize()
            self._profiler.__exit__(None, None, None)
            self._profiler.export_chrome_trace(str(self._trace))


def _synchronize() -> None:
    if GPU:
        torch.cuda.synchronize()


@dataclass(frozen=True)
class Launch:
    """One kernel or copy; times in microseconds."""

    begin: float
    end: float
    name: str


def launches(trace: Path) -> list[Launch]:
    """Everything that ran on the GPU, in order of its beginning."""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    kinds = {"kernel", "gpu_memcpy", "gpu_memset"} if GPU else {"cpu_op"}
    found = [
        Launch(e["ts"], e["ts"] + e["dur"], e["name"])
        for e in events
        if e.get("ph") == "X" and e.get("cat") in kinds
    ]
    return sorted(found, key=lambda launch: launch.begin)


def gaps(found: list[Launch]) -> list[tuple[float, str, str]]:
    """When nothing computes: microseconds, what ran before, what runs after.

    Copies to and from the host run beside the computation and do not count as such.
    """
    computing = [launch for launch in found if not _copies(launch.name)]
    idle, end, last = [], computing[0].end, computing[0].name
    for launch in computing[1:]:
        if launch.begin > end:
            idle.append((launch.begin - end, last, launch.name))
        if launch.end > end:
            end, last = launch.end, launch.name
    return idle


def _copies(name: str) -> bool:
    return "Memcpy HtoD" in name or "Memcpy DtoH" in name


def told(found: list[Launch], rows: int) -> str:
    """The report; milliseconds are those of one step."""
    computing = [launch for launch in found if not _copies(launch.name)]
    span = (computing[-1].end - computing[0].begin) / 1000 / _RECORDED
    idle = gaps(found)
    lost = sum(gap for gap, _, _ in idle) / 1000 / _RECORDED
    lines = [f"a step: {span:.1f} ms, the GPU computes in {span - lost:.1f} ms of them"]
    for least, most in ((0, 3), (3, 20), (20, float("inf"))):
        part = [gap for gap, _, _ in idle if least <= gap < most]
        total = sum(part) / 1000 / _RECORDED
        lines.append(f"  gaps of {least} to {most} us: {total:.1f} ms in {len(part) // _RECORDED}")
    for gap, before, after in sorted(idle, reverse=True)[:8]:
        lines.append(f"  {gap:8.0f} us between {before[:44]} and {after[:44]}")
    spent: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for launch in found:
        spent[launch.name] += launch.end - launch.begin
        times[launch.name] += 1
    for name, total in spent.most_common(rows):
        each, count = total / times[name], times[name] // _RECORDED
        lines.append(f"{total / 1000 / _RECORDED:9.2f} ms {count:6d} x {each:8.1f} us  {name[:80]}")
    kinds: Counter[str] = Counter()
    for name, total in spent.items():
        kinds[_kind(name)] += total
    lines += ["| what | ms a step |", "| --- | --- |"]
    lines += [f"| {kind} | {t / 1000 / _RECORDED:.1f} |" for kind, t in kinds.most_common()]
    return "\n".join([*lines, f"| gaps | {lost:.1f} |"])


def _kind(name: str) -> str:
    return next(
        (kind for kind, parts in _KINDS.items() if any(re.search(part, name) for part in parts)),
        "other",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--kernels", type=int, default=40, help="how many are listed")
    options = parser.parse_args()
    if not GPU and not dry(ROWS[options.row]):
        parser.error("this looks at a GPU, and torch sees none; a row tiny runs without")
    row = replace(ROWS[options.row], random_base=True, steps=options.steps, warm_up=3)
    changed = {"set": dict(part.split("=", 1) for part in options.set)}
    with tempfile.TemporaryDirectory() as place:
        recorder = Recorder(row, Path(place) / "trace.json")
        documents = tokens.documents(row, MODELS[row.model]["vocab_size"])
        sequences = finetui.sequences(row, documents)
        trained = finetui.train(row, changed, Path(place), sequences, recorder)
        figures = recorder.figures()
        print(told(launches(Path(place) / "trace.json"), options.kernels))
        facts = trained.facts
        print(f"{row.name}: {facts['path']} ({facts['why']}), losses {facts['losses']}")
        shown = ("tokens_per_second", "step_seconds", "peak_allocated_gib")
        print(", ".join(f"{key} {figures[key]}" for key in shown if key in figures))


if __name__ == "__main__":
    main()
