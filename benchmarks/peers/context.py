"""The longest sequence that finetui trains within a memory limit.

A short sequence first, which must fit; then single steps near the longest that is planned within
device and host memory, longer after each that fits, until one does not fit or the time is over.
Peaks say nothing about the longest: what a short sequence leaves free is used.

A length is tried by a single step, since one of several hundred thousand tokens takes minutes. It
is the first one, with all that only a first step does. Pinning the host's memory is told apart.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from peers import tokens
from peers.shapes import MODELS, Row

_FIRST = (4096, 16384)
_FIRST_ON_CPU = (32, 64, 96, 128)
_ROUND = 256
_MOST = 1 << 21
_SHARE = 0.9
"""Part of the host's free memory that finetui plans with."""
_FACTS = ("path", "why", "losses", "guards")
_CLOSE = 0.03
"""Stop when the longest that fits and the shortest that does not are this near."""


def search(row: Row, options: dict[str, Any], models: Path) -> dict[str, Any]:
    """Lengths that were tried, each with its seconds and peak, and the longest that fits."""
    import torch

    found = _Search(row, options, models, time.monotonic() + options["seconds"])
    if options.get("lengths"):
        for length in options["lengths"]:
            found.attempt(int(length))
        return found.figures()
    if not torch.cuda.is_available():
        for length in _FIRST_ON_CPU:
            found.attempt(length)
        return found.figures()
    for length in _FIRST:
        if not found.attempt(length):
            return found.figures()
    from core.model.room import free_memory_bytes

    limit_gib = float(row.settings.get("memory.limit_gib", row.device_gib or 0))
    limit = limit_gib * (1 << 30) if limit_gib else torch.cuda.mem_get_info()[1]
    found.narrow(planned(row, int(limit), int(free_memory_bytes() * _SHARE)))
    return found.figures()


def planned(row: Row, device_bytes: int, host_bytes: int) -> int:
    """The longest sequence whose plan stays within both memories, found by halving."""
    from core.model.fast.dims import Dims
    from core.model.fast.footprint import peak_bytes
    from core.model.fast.plan import choose

    shape = MODELS[row.model]
    heads, hidden = shape["num_attention_heads"], shape["hidden_size"]
    width = shape.get("head_dim") or hidden // heads
    dims = Dims(
        shape["num_hidden_layers"], hidden, shape["intermediate_size"], heads * width,
        shape["num_key_value_heads"] * width, shape["vocab_size"], shape["tie_word_embeddings"],
        row.rank, heads, head_norms=shape["model_type"] == "qwen3",
    )  # fmt: skip

    def fits(length: int) -> bool:
        found = choose(dims, length=length, effective_batch=1, limit_bytes=device_bytes,
                            host_limit_bytes=host_bytes)  # fmt: skip
        return found is not None and peak_bytes(dims, found) <= device_bytes

    low, high = 1, _MOST // _ROUND
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * _ROUND) else (low, middle)
    return low * _ROUND


@dataclass
class Pinning:
    """What pinning the host's memory took."""

    seconds: float = 0.0
    size: int = 0
    """Bytes."""

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is pinned for layers meanwhile; the GPU waits for that."""
        from core.model.fast import stash

        pin = stash.pinned

        def timed(*shape: int, dtype: Any) -> Any:
            began = time.perf_counter()
            memory = pin(*shape, dtype=dtype)
            self.seconds += time.perf_counter() - began
            self.size += memory.nbytes
            return memory

        with mock.patch.object(stash, "pinned", timed):
            yield


@dataclass(frozen=True)
class Tried:
    """A step on one sequence."""

    seconds: float
    """With the pinning."""
    allocated_gib: float
    reserved_gib: float
    pinning: Pinning
    facts: dict[str, Any] = field(default_factory=dict)
    """What the training told: its path, its losses, updates that were skipped."""

    @property
    def computing(self) -> float:
        """Seconds without the pinning, which later steps do not repeat."""
        return self.seconds - self.pinning.seconds


class _Search:
    def __init__(self, row: Row, options: dict[str, Any], models: Path, end: float):
        self._row, self._options, self._models, self._end = row, options, models, end
        self._fits: dict[int, Tried] = {}
        self._too_long: list[int] = []

    def attempt(self, length: int) -> bool:
        """Train one step on one sequence of this length; whether memory was enough."""
        started = time.monotonic()
        try:
            tried = self._step(length)
        except Exception as error:
            if not _out_of_memory(error):
                raise
            self._too_long.append(length)
            fits = False
        else:
            self._fits[length] = tried
            fits = True
        _clean()
        self._last_seconds = time.monotonic() - started
        self._options["tell"](self.figures() | {"outcome": "measured", "complete": False})
        return fits

    def _step(self, length: int) -> Tried:
        from peers import finetui
        from peers.meter import Meter

        row = replace(self._row, length=length, steps=1, warm_up=1)
        meter = Meter(row)
        documents = tokens.documents(row, MODELS[row.model]["vocab_size"])
        sequences, pinning = finetui.sequences(row, documents), Pinning()
        with pinning.counted():
            trained = finetui.train(row, self._options, self._models, sequences, meter)
        return Tried(meter.steps()[0], *meter.peak(), pinning, trained.facts)

    def narrow(self, length: int) -> None:
        """Go from a length that is foretold to the longest that fits."""
        while self._time_for(length):
            if self.attempt(length):
                above = min(self._too_long, default=None)
                if above is not None and above - length <= _CLOSE * length:
                    return
                length = _rounded((length + above) / 2 if above else length * (1 + _CLOSE))
            else:
                below = max(self._fits)
                if length - below <= _CLOSE * below:
                    return
                near = _rounded(length * (1 - _CLOSE))
                length = near if near > below else _rounded((below + length) / 2)
            if length in self._fits or length in self._too_long:
                return

    def _time_for(self, length: int) -> bool:
        """Whether one more attempt fits into what time is left; attention grows as a square."""
        longest = max(self._fits)
        expected = self._last_seconds + self._fits[longest].computing * (
            (length / longest) ** 2 - 1
        )
        return time.monotonic() + max(self._last_seconds, expected) < self._end

    def figures(self) -> dict[str, Any]:
        longest = max(self._fits, default=0)
        best = self._fits.get(longest)
        return {
            "longest_length": longest,
            "shortest_too_long": min(self._too_long, default=None),
            **(_figures(longest, best) if best else {}),
            "lengths": {str(n): _figures(n, tried) for n, tried in sorted(self._fits.items())},
        }


def _figures(length: int, tried: Tried) -> dict[str, Any]:
    """The rate is that of a step that pins nothing."""
    return {
        "step_seconds": round(tried.seconds, 2),
        "pinning_seconds": round(tried.pinning.seconds, 2),
        "pinned_gib": round(tried.pinning.size / 2**30, 2),
        "tokens_per_second": round(length / tried.computing, 1),
        "peak_allocated_gib": round(tried.allocated_gib, 3),
        "peak_reserved_gib": round(tried.reserved_gib, 3),
        **{name: tried.facts[name] for name in _FACTS if name in tried.facts},
    }


def _rounded(length: float) -> int:
    return int(length) // _ROUND * _ROUND


def _out_of_memory(error: BaseException | None) -> bool:
    import torch

    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if getattr(error, "kind", "") == "out_of_memory":
            return True
        error = error.__cause__
    return False


def _clean() -> None:
    """Give back what an attempt held; a failed one is held by its error until here."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
