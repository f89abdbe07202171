"""How long each kernel of the fused path takes at a model's shapes, and what its bytes would take.

    python benchmarks/kernel_times.py [--model qwen3-8b] [--only swiglu] [--variants]

On random numbers. Launches are recorded as a CUDA graph, so that the host does not count, and
before each the cache is filled with other memory, as in a training. Bytes are those of inputs and
outputs, each once. ``--variants`` tries other launch settings of some kernels and adds the best.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from limits import at_least, positive  # noqa: E402
from peers.shapes import MODELS  # noqa: E402

_LAUNCHES, _REPLAYS = 20, 5
_CACHE = 192 << 20
"""Bytes that are read between launches: a few times the cache of a large GPU."""
_BEST = 5


@dataclass(frozen=True)
class Case:
    """One call of the fused path."""

    kernel: str
    what: str
    """Which linears, which width, or which settings."""
    call: Callable[[], object]
    moved: int
    """Bytes of its inputs and outputs."""
    flops: float = 0


@dataclass(frozen=True)
class Timed:
    """What a case took."""

    kernel: str
    what: str
    microseconds: float
    moved: int
    flops: float = 0


def timed(case: Case) -> Timed:
    return Timed(case.kernel, case.what, microseconds(case.call), case.moved, case.flops)


def microseconds(call: Callable[[], object]) -> float:
    """Time of one launch, with nothing of its memory in the cache."""
    other = torch.zeros(_CACHE // 4, device="cuda")
    total = torch.zeros((), device="cuda")

    def clear() -> None:
        torch.sum(other, 0, out=total)

    def both() -> None:
        clear()
        call()

    call()  # compiles, and lets libraries choose
    clear()
    return max(0.0, _replayed(both) - _replayed(clear))


def _replayed(launch: Callable[[], None]) -> float:
    """Microseconds of ``launch`` among many that a graph runs one after the other; the median."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_LAUNCHES):
            launch()
    graph.replay()
    found = []
    for _ in range(_REPLAYS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end) * 1000 / _LAUNCHES)
    return statistics.median(found)


def best(cases: Iterable[Case]) -> list[Timed]:
    """The fastest few of each kernel's variants; those that do not fit the card are left out."""
    found: dict[str, list[Timed]] = {}
    for case in cases:
        try:
            found.setdefault(case.kernel, []).append(timed(case))
        except Exception as error:  # shared memory, registers: a class of Triton's for each
            if "out of resource" not in str(error):
                raise
    return [
        one
        for variants in found.values()
        for one in sorted(variants, key=lambda one: one.microseconds)[:_BEST]
    ]


def table(rows: Iterable[Timed], gb_per_second: float) -> str:
    """As Markdown: bytes beside their time at this bandwidth, products beside their rate."""
    lines = [
        f"| kernel | of | us | MB | us at {gb_per_second:,.0f} GB/s | part of it | TFLOP/s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        least = row.moved / gb_per_second / 1000
        part = f"{least / row.microseconds:.0%}" if row.microseconds else ""
        rate = (
            f"{row.flops / row.microseconds / 1e6:,.0f}" if row.flops and row.microseconds else ""
        )
        cells = (row.kernel, row.what, f"{row.microseconds:,.1f}", f"{row.moved / 1e6:,.1f}",
                 f"{least:,.1f}", part, rate)  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(options: Any) -> Iterator[Timed]:
    """All rows of the table. Needs Triton, which comes with torch for GPUs."""
    import kernel_cases
    import kernel_data
    import kernel_variants

    shape = kernel_data.Shape(MODELS[options.model], options.tokens, options.length, options.rank)
    fp8 = torch.cuda.get_device_capability() >= (8, 9)
    for case in kernel_cases.cases(shape, torch.device("cuda"), fp8=fp8):
        if options.only in case.kernel:
            yield timed(case)
    if options.variants:
        variants = kernel_variants.cases(shape, torch.device("cuda"), fp8=fp8)
        yield from best(case for case in variants if options.only in case.kernel)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="llama31-8b")
    parser.add_argument("--tokens", type=at_least(1), default=4096)
    parser.add_argument(
        "--length", type=at_least(1), default=2048, help="of a document, for attention"
    )
    parser.add_argument("--rank", type=at_least(1), default=16)
    parser.add_argument(
        "--gb-per-second", type=positive, default=3000, help="bandwidth of the card"
    )
    parser.add_argument("--only", default="", help="kernels with this in their name")
    parser.add_argument("--variants", action="store_true", help="other launch settings as well")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("this times kernels of a GPU, and torch sees none")
    if options.tokens % options.length:
        parser.error(f"--tokens {options.tokens} is no multiple of --length {options.length}")
    torch.manual_seed(0)
    found = list(measured(options))
    if not found:
        parser.error(f"--only {options.only}: no kernel has this in its name")
    print(table(found, options.gb_per_second))
    print(f"{options.model}, {options.tokens:,} tokens, rank {options.rank}, "
          f"{torch.cuda.get_device_name()}, torch {torch.__version__}")  # fmt: skip


if __name__ == "__main__":
    main()
