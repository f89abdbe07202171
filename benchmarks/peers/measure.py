"""One measurement in a process of its own: ``python -m peers.measure JSON``; a JSON line comes out.

The parent reads only lines that begin with ``RESULT``; a later one replaces an earlier one.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

from peers.shapes import ENTRANTS, ROWS, SIGN, Row

_LIBRARIES_GIB = 0.45
"""Room of a capped process for cuBLAS and kernels, which are loaded after the cap was set."""


def tell(values: dict[str, Any]) -> None:
    """Hand figures to the parent."""
    print(SIGN + json.dumps(values), flush=True)


def row_of(order: dict[str, Any]) -> Row:
    """The row of an order, with what the command line changed in it."""
    from dataclasses import replace

    return replace(ROWS[order["row"]], **order.get("changes", {}))


def cap(device_gib: float | None, baseline_bytes: int) -> dict[str, float]:
    """Keep this process within so much device memory above the baseline; what was reckoned with."""
    import torch

    if device_gib is None or not torch.cuda.is_available():
        return {}
    # So that the context can be counted. No product: the first one settles cuBLAS's workspace.
    torch.ones(1, device="cuda")
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    outside = (total - free - baseline_bytes - torch.cuda.memory_reserved()) / (1 << 30)
    allowed = device_gib - outside - _LIBRARIES_GIB
    torch.cuda.set_per_process_memory_fraction(allowed * (1 << 30) / total)
    return {
        "device_cap_gib": device_gib,
        "allocator_cap_gib": round(allowed, 3),
        "outside_allocator_gib": round(outside, 3),
    }


def main() -> None:
    order = json.loads(sys.argv[1])
    row, entrant = row_of(order), ENTRANTS[order["entrant"]]
    options = entrant.options | {
        "set": entrant.options.get("set", {}) | order.get("set", {}),
        "tell": tell,
        "seconds": order["seconds"],
        "lengths": order.get("lengths"),
    }
    found: dict[str, Any] = {}
    try:
        found |= cap(row.device_gib, order.get("baseline_bytes", 0))
        peer = importlib.import_module(f"peers.{entrant.peer}")
        found |= peer.run(row, options, Path(order["models"]))
        found["outcome"] = "measured"
    except Exception as error:
        print(traceback.format_exc(), file=sys.stderr)
        found |= _failure(error)
    tell(found | _surroundings())


def _failure(error: Exception) -> dict[str, Any]:
    import torch

    kind = getattr(error, "kind", "")
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, torch.OutOfMemoryError):
        cause = cause.__cause__
    if cause is not None or kind == "out_of_memory":
        return {"outcome": "out of memory", "error": str(cause or error).splitlines()[0]}
    lines = str(error).strip().splitlines()
    return {"outcome": "failed", "error": f"{type(error).__name__}: {lines[0] if lines else ''}"}


def _surroundings() -> dict[str, Any]:
    import torch

    from peers.meter import versions

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {"card": card, "versions": versions()}


if __name__ == "__main__":
    main()
