"""How fast memory of the host is pinned for the GPU, in several ways.

    python benchmarks/pinning.py --gib 16

The fused path pins what waits there before its first step: 19 GiB for an 8B, hundreds for the
longest sequences. Each way takes fresh memory, has its pages made or not, registers it with CUDA,
and copies it to the GPU and back once; printed are seconds of each part.
"""

from __future__ import annotations

import argparse
import mmap
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from limits import at_least

_POPULATE = 23
"""MADV_POPULATE_WRITE, of Linux 5.14 and later: makes all pages of a range."""
_MAPPED = 2
_PAGE = 2 << 20


def plain(size: int) -> torch.Tensor:
    """Memory as torch gives it; its pages are made while it is registered."""
    return torch.empty(size, dtype=torch.uint8)


def mapped(size: int, *, huge: bool, threads: int) -> torch.Tensor:
    """A mapping of its own, its pages made by so many threads; none: while it is registered."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge:
        memory.madvise(mmap.MADV_HUGEPAGE)
    if threads:
        share = -(-size // threads // _PAGE) * _PAGE
        parts = [(at, min(share, size - at)) for at in range(0, size, share)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: memory.madvise(_POPULATE, *part), parts))
    return torch.frombuffer(memory, dtype=torch.uint8)


WAYS: dict[str, Callable[[int], torch.Tensor]] = {
    "torch.empty": plain,
    "mapped": lambda size: mapped(size, huge=False, threads=0),
    "mapped, pages by 8 threads": lambda size: mapped(size, huge=False, threads=8),
    "huge pages": lambda size: mapped(size, huge=True, threads=0),
    "huge pages by 8 threads": lambda size: mapped(size, huge=True, threads=8),
}


def measure(make: Callable[[int], torch.Tensor], size: int) -> tuple[float, float, float]:
    """Seconds to make the memory, to register it, and to copy it to the GPU and back."""
    runtime, target = torch.cuda.cudart(), torch.empty(size, dtype=torch.uint8, device="cuda")
    begin = time.perf_counter()
    memory = make(size)
    made = time.perf_counter()
    result = runtime.cudaHostRegister(memory.data_ptr(), size, _MAPPED)
    registered = time.perf_counter()
    if int(result):
        raise SystemExit(f"{size >> 30} GiB could not be registered: error {int(result)} of CUDA")
    target.copy_(memory, non_blocking=True)
    memory.copy_(target, non_blocking=True)
    torch.cuda.synchronize()
    copied = time.perf_counter()
    runtime.cudaHostUnregister(memory.data_ptr())
    return made - begin, registered - made, copied - registered


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=at_least(1), default=8, help="size of each piece of memory")
    size = parser.parse_args().gib << 30
    if not torch.cuda.is_available():
        print("pinning.py: this needs an NVIDIA GPU", file=sys.stderr)
        raise SystemExit(2)
    torch.cuda.synchronize()
    print("| way | made s | registered s | GB/s together | copied there and back GB/s |")
    print("| --- " * 5 + "|")
    for name, make in WAYS.items():
        made, registered, copied = measure(make, size)
        rate, bus = size / 1e9 / (made + registered), 2 * size / 1e9 / copied
        print(f"| {name} | {made:.1f} | {registered:.1f} | {rate:.1f} | {bus:.0f} |", flush=True)


if __name__ == "__main__":
    main()
