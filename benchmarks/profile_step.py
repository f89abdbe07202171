"""Where the time of a training step goes on the GPU: kernel by kernel, and between them.

    python benchmarks/profile_step.py 8b-2x2048 --set memory.limit_gib=7.7 [--set train.fp8=true]
    python benchmarks/profile_step.py 8b-2x2048 --host

Runs a workload of ``train.py`` with finetui on a random base, records two of its steps with torch's
profiler, and prints for one step: time that the GPU computes, gaps by length, what stands before
the longest and around the others, and the kernels that take most. ``--host`` records the host as
well, which makes a step slower, and says what it did in the longest gaps. The rows ``tiny`` run
without a GPU, too: then the launches are torch's operations.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import profile_host  # noqa: E402
from limits import assignment, at_least  # noqa: E402
from peers import finetui, tokens  # noqa: E402
from peers.meter import Meter  # noqa: E402
from peers.shapes import MODELS, ROWS, Row, dry  # noqa: E402

from core.config.errors import InputError  # noqa: E402

GPU = torch.cuda.is_available()
_RECORDED = 2
"""Steps that are recorded, the last but one of the run being the last of them."""
_LONG = 20
"""Microseconds from which a gap is looked at: shorter ones lie between any two launches."""
_KINDS = {
    "rounding to FP8": ("^_?quantize", "scale_rows"),
    "attention": ("flash", "fmha", "sdpa", "attention", "dot_do_o", "convert_dq"),
    "products": ("gemm", "nvjet", "cutlass", "xmma", "mm"),
    "SwiGLU": ("swiglu",),
    "thin products": ("project", "outward", "settle", "tail_kernel", "gather_kernel", "spread"),
    "norms, rotation": ("rms_", "head_norm", "rotate"),
    "dequantization": ("expand", "adapters_kernel"),
    "loss, embedding": ("cross_entropy", "score_tile", "tile_gradient", "embed"),
    "copies to and from the host": ("Memcpy HtoD", "Memcpy DtoH"),
}
"""Patterns in the names of kernels, by what they do; the first that fits counts."""


class Recorder(Meter):
    """A meter that records some steps near the end; ``host``: what the host does, too."""

    def __init__(self, row: Row, trace: Path, *, host: bool = False):
        super().__init__(row)
        kinds = torch.profiler.ProfilerActivity
        self._activities = [kinds.CUDA] if GPU else [kinds.CPU]
        if host and GPU:
            self._activities.append(kinds.CPU)
        self._steps, self._trace, self._done = row.steps, trace, 0
        self._profiler: Any = None

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        super().on_step_end(*args, **kwargs)
        self._done += 1
        if self._done == self._steps - 1 - _RECORDED:
            _synchronize()
            self._profiler = torch.profiler.profile(activities=self._activities)
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
    call: tuple[float, float] | None = None
    """Beginning and end of the host's call that launched it, where that is known."""


@dataclass(frozen=True)
class Gap:
    """When nothing computes: from ``begin`` until ``after`` begins."""

    begin: float
    before: str
    after: Launch

    @property
    def end(self) -> float:
        return self.after.begin

    @property
    def length(self) -> float:
        return self.end - self.begin


def launches(trace: list[dict[str, Any]]) -> list[Launch]:
    """Everything that ran on the GPU, in order of its beginning."""
    kinds = {"kernel", "gpu_memcpy", "gpu_memset"} if GPU else {"cpu_op"}
    calls = {
        e["args"]["correlation"]: (e["ts"], e["ts"] + e["dur"])
        for e in trace
        if e.get("cat") in ("cuda_runtime", "cuda_driver") and "correlation" in e.get("args", {})
    }
    found = [
        Launch(e["ts"], e["ts"] + e["dur"], e["name"],
               calls.get(e.get("args", {}).get("correlation")))
        for e in trace
        if e.get("ph") == "X" and e.get("cat") in kinds
    ]  # fmt: skip
    return sorted(found, key=lambda launch: launch.begin)


def gaps(found: list[Launch]) -> list[Gap]:
    """All gaps, in order. Copies to and from the host run beside and do not count as computing."""
    computing = [launch for launch in found if not _copies(launch.name)]
    idle, end, last = [], computing[0].end, computing[0].name
    for launch in computing[1:]:
        if launch.begin > end:
            idle.append(Gap(end, last, launch))
        if launch.end > end:
            end, last = launch.end, launch.name
    return idle


def _copies(name: str) -> bool:
    return "Memcpy HtoD" in name or "Memcpy DtoH" in name


def told(found: list[Launch], rows: int, host: list[profile_host.Event] | None = None) -> str:
    """The report; milliseconds are those of one step. ``host``: the host's events, if recorded."""
    computing = [launch for launch in found if not _copies(launch.name)]
    span = (computing[-1].end - computing[0].begin) / 1000 / _RECORDED
    idle = gaps(found)
    lost = sum(gap.length for gap in idle) / 1000 / _RECORDED
    lines = [f"a step: {span:.1f} ms, the GPU computes in {span - lost:.1f} ms of them"]
    for least, most in ((0, 3), (3, _LONG), (_LONG, float("inf"))):
        part = [gap.length for gap in idle if least <= gap.length < most]
        total = sum(part) / 1000 / _RECORDED
        lines.append(f"  gaps of {least} to {most} us: {total:.1f} ms in {len(part) // _RECORDED}")
    lines += _longest(idle, host)
    lines += _neighbours([gap for gap in idle if gap.length < _LONG])
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


def _longest(idle: list[Gap], host: list[profile_host.Event] | None) -> list[str]:
    lines = []
    for gap in sorted(idle, key=lambda gap: -gap.length)[:8]:
        name = gap.after.name[:44]
        lines.append(f"  {gap.length:8.0f} us between {gap.before[:44]} and {name}")
        if host and gap.length > _LONG:
            lines += [*_launched(gap), *profile_host.told(host, gap.begin, gap.end)]
    if host:
        long = [(gap.begin, gap.end) for gap in idle if gap.length > _LONG]
        lines.append(f"  gaps over {_LONG} us by the stage of the main thread:")
        for stage, total in profile_host.by_stage(host, long):
            lines.append(f"{total / 1000 / _RECORDED:9.2f} ms  {stage}")
    return lines


def _neighbours(short: list[Gap]) -> list[str]:
    """Between which kernels the short gaps lie that take most together."""
    spent: Counter[tuple[str, str]] = Counter()
    times: Counter[tuple[str, str]] = Counter()
    for gap in short:
        pair = gap.before[:44], gap.after.name[:44]
        spent[pair] += gap.length
        times[pair] += 1
    return [
        f"{total / 1000 / _RECORDED:9.2f} ms {times[pair] // _RECORDED:6d} gaps between {pair[0]} "
        f"and {pair[1]}"
        for pair, total in spent.most_common(12)
    ]


def _launched(gap: Gap) -> list[str]:
    """Whether the GPU waited for this launch, or for something that was under way."""
    if gap.after.call is None:
        return []
    begin, end = gap.after.call
    if end < gap.begin:
        return [f"           launched {gap.begin - end:,.0f} us before the gap: not the host's"]
    took = f"{end - begin:,.0f} us"
    return [f"           launched {gap.end - begin:,.0f} us before the gap's end, in {took}"]


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
    parser.add_argument("--set", action="append", type=assignment, default=[],
                        metavar="SECTION.FIELD=VALUE", help="a setting of finetui")  # fmt: skip
    parser.add_argument("--steps", type=at_least(_RECORDED + 2), default=9)
    parser.add_argument("--kernels", type=at_least(1), default=40, help="how many are listed")
    parser.add_argument("--host", action="store_true", help="what the host does in the gaps")
    options = parser.parse_args()
    if not GPU and not dry(ROWS[options.row]):
        parser.error("this looks at a GPU, and torch sees none; a row tiny runs without")
    row = replace(ROWS[options.row], random_base=True, steps=options.steps, warm_up=3)
    changed = {"set": dict(options.set)}
    try:
        finetui.config(row, changed, Path(), "cuda" if GPU else "cpu")
    except InputError as error:
        parser.error(error.message)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "trace.json"
        recorder = Recorder(row, file, host=options.host)
        documents = tokens.documents(row, MODELS[row.model]["vocab_size"])
        sequences = finetui.sequences(row, documents)
        with profile_host.marked() if options.host else nullcontext():
            trained = finetui.train(row, changed, Path(place), sequences, recorder)
        figures = recorder.figures()
        trace = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
        host = profile_host.host_events(trace) if options.host else None
        print(told(launches(trace), options.kernels, host))
        facts = trained.facts
        print(f"{row.name}: {facts['path']} ({facts['why']}), losses {facts['losses']}")
        shown = ("tokens_per_second", "step_seconds", "peak_allocated_gib")
        print(", ".join(f"{key} {figures[key]}" for key in shown if key in figures))


if __name__ == "__main__":
    main()
