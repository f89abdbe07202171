"""Who is measured when, on which GPU, and what becomes of it.

The entrants of a row run one after the other on one GPU. Several GPUs take a row each at a time,
every second one in the opposite order: entrants that use the host's memory most do not all run at
once. Rows that search for the longest sequence come last and alone, for they pin so much memory of
the host that others would wait.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.monitor.devices import listing, visible
from core.monitor.peak import Peak
from peers import results, weights
from peers.shapes import SIGN, Row, dry

_SHOWN = (
    "outcome", "error", "tokens_per_second", "peak_allocated_gib", "device_peak_gib",
    "longest_length", "path", "why", "losses", "wall_seconds",
)  # fmt: skip
"""What is said of a result at once; the rest is in the file."""


@dataclass(frozen=True)
class Card:
    """A GPU to measure on; ``mask`` is its CUDA_VISIBLE_DEVICES, None to leave that as it is."""

    peak: Peak
    mask: str | None = None


def cards(count: int) -> list[Card]:
    """So many GPUs of those that CUDA_VISIBLE_DEVICES lets through; at least one, or none at all.

    Raises SystemExit where there are fewer.
    """
    found, mask = listing().gpus, os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = found if mask is None else visible(found, mask)
    if count == 1:
        return [Card(Peak(gpus[0].uuid if gpus else None))]
    if len(gpus) < count:
        raise SystemExit(f"--gpus {count}: there are {len(gpus)} GPUs here")
    return [Card(Peak(gpu.uuid), str(found.index(gpu))) for gpu in gpus[:count]]


def order(row: Row, names: list[str], rounds: int, *, once: bool = False) -> list[str]:
    """Who runs when: forwards and backwards in turn, and the first once more at the end.

    ``once`` leaves that out, which tells whether the machine stayed as it was.
    """
    turns = [name for number in range(rounds) for name in (names, names[::-1])[number % 2]]
    return [*turns, names[0]] if len(names) > 1 and not dry(row) and not once else turns


_LOOKS, _LOOK_SECONDS = 20, 0.5
"""How often, and after what time, device memory is looked at before a measurement."""


def measure(
    row: Row,
    name: str,
    options: argparse.Namespace,
    env: dict[str, str],
    card: Peak,
    seconds: float,
) -> dict[str, Any]:
    """Run one measurement; its result, or what became of it."""
    baseline = _settled(card)
    task = {
        "row": row.name, "entrant": name, "models": str(options.models),
        "set": dict(options.set),
        "changes": options.changes, "seconds": max(1.0, seconds - 60),
        "lengths": options.lengths, "baseline_bytes": baseline or 0,
    }  # fmt: skip
    command = [sys.executable, "-P", "-m", "peers.measure", json.dumps(task)]
    log = options.logs / f"{row.name}-{name}.log"
    started = time.monotonic()
    with card.watch(), log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=options.logs
        )
        ended = threading.Timer(max(1.0, seconds), process.kill)
        ended.start()
        assert process.stdout is not None
        said = _said(process.stdout, options.logs / f"{row.name}-{name}.json")
        process.wait()
        late = not ended.is_alive()
        ended.cancel()
    found: dict[str, Any] = json.loads(said[-1]) if said else {
        "outcome": "out of time" if late else "failed",
        "error": f"ended with status {process.returncode}; see {log.name}",
    }  # fmt: skip
    at_end = found.pop("device_at_end_bytes", None)
    if baseline is not None:
        found["baseline_gib"] = round(baseline / 2**30, 3)
        found["device_peak_gib"] = round(((card.most_bytes or 0) - baseline) / 2**30, 3)
        if at_end is not None:
            found["device_at_end_gib"] = round((at_end - baseline) / 2**30, 3)
    found["wall_seconds"] = round(time.monotonic() - started, 1)
    return {
        "row": row.name, "entrant": name, "model": row.model, "length": row.length,
        "batch": row.batch, "accumulation": row.accumulation, **found,
    }  # fmt: skip


def _settled(card: Peak) -> int | None:
    """Device memory in use before a measurement, once nobody lets go of more.

    A process that ended, such as the one that wrote the weights, may hold some for a moment:
    counted as the baseline, it made a training of 13.3 GiB one of 10.9.
    """
    used = card.used_bytes()
    for _ in range(_LOOKS if used else 0):
        time.sleep(_LOOK_SECONDS)
        before, used = used, card.used_bytes()
        if used is None or before is None or used >= before:
            break
    return used


def _said(lines: Iterable[str], place: Path) -> list[str]:
    """The results among some lines, each written to ``place`` as it comes: whatever ends a
    measurement that takes minutes, or ends this process with it, leaves what was found."""
    said = []
    for line in lines:
        if not line.startswith(SIGN):
            continue
        said.append(line.removeprefix(SIGN))
        place.write_text(said[-1], encoding="utf-8")
        if not json.loads(said[-1]).get("complete", True):
            say(f"  so far: {said[-1].strip()}")
    return said


class Course:
    """All measurements of one call. ``entrants`` are those that are installed."""

    def __init__(
        self, options: argparse.Namespace, envs: dict[str, dict[str, str]], entrants: list[str]
    ):
        self._options, self._envs, self._entrants = options, envs, entrants
        self._end = time.monotonic() + options.budget_seconds
        self._found = self._done()
        self._have = {
            results.key(one) for one in self._found
            if one["outcome"] == "measured" and one.get("complete", True)
        }  # fmt: skip
        self._writing, self._preparing = threading.Lock(), threading.Lock()

    def run(self, rows: list[Row], places: list[Card]) -> list[dict[str, Any]]:
        """Measure the rows, as many at a time as there are cards; all results."""
        if rows and not dry(rows[0]) and places[0].peak.used_bytes() is None:
            say("device memory is not told: nvidia-ml-py is not installed for this process")
        several = len(places) > 1
        waiting = deque(
            (row, several and number % 2 == 1) for number, row in enumerate(rows) if not row.search
        )
        with ThreadPoolExecutor(len(places)) as pool:
            for done in [pool.submit(self._work_off, waiting, card) for card in places]:
                done.result()
        for row in rows:
            if row.search:
                self._row(row, places[0])
        return self._found

    def _work_off(self, waiting: deque[tuple[Row, bool]], card: Card) -> None:
        while True:
            try:
                row, backwards = waiting.popleft()
            except IndexError:
                return
            self._row(row, card, backwards=backwards)

    def _row(self, row: Row, card: Card, *, backwards: bool = False) -> None:
        names = [name for name in row.entrants if name in self._entrants]
        asked = names[::-1] if backwards else names
        turns: dict[str, int] = {}
        wish = self._options
        for name in order(row, asked, wish.rounds, once=wish.once) if names else []:
            turns[name] = turns.get(name, 0) + 1
            told = {"row": row.name, "entrant": name, "turn": turns[name], **self._asked}
            if results.key(told) in self._have:
                continue
            if self._left >= self._options.least_seconds:
                self._prepare(row, self._env(names[0], card))  # minutes and GB, for an 8B
            if self._left < self._options.least_seconds:
                say(f"out of time before {row.name} {name}, turn {turns[name]}")
                return
            say(f"{row.name}: {name}, turn {turns[name]}")
            self._keep(self._measured(row, name, card) | told)

    @property
    def _asked(self) -> dict[str, Any]:
        """What the command line made of the workloads and of finetui's settings."""
        given = ["=".join(pair) for pair in self._options.set]
        return {"set": given, "changes": self._options.changes}

    @property
    def _left(self) -> float:
        """Seconds until nothing is started any more."""
        return self._end - time.monotonic()

    def _measured(self, row: Row, name: str, card: Card) -> dict[str, Any]:
        seconds = min(self._left, self._options.run_seconds)
        return measure(row, name, self._options, self._env(name, card), card.peak, seconds)

    def _env(self, name: str, card: Card) -> dict[str, str]:
        """An entrant's environment on that card."""
        if card.mask is None:
            return self._envs[name]
        # Unsloth wants numbers, not names; in this order they count as NVML does.
        only = {"CUDA_VISIBLE_DEVICES": card.mask, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return self._envs[name] | only

    def _keep(self, result: dict[str, Any]) -> None:
        with self._writing:
            self._found.append(result)
            results.add(self._options.out, result)
        shown = {key: result[key] for key in ("row", "entrant", *_SHOWN) if key in result}
        say("  " + json.dumps(shown))

    def _prepare(self, row: Row, env: dict[str, str]) -> None:
        """Write the model folder of a row, unless it is there or nobody reads it."""
        models: Path = self._options.models
        with self._preparing:
            if row.random_base or weights.ready(row.model, models):
                return
            say(f"writing random weights of {row.model}")
            command = [sys.executable, "-P", "-m", "peers.weights", row.model, str(models)]
            done = subprocess.run(command, env=env, check=False)
            if done.returncode != 0:
                raise SystemExit(
                    f"random weights of {row.model} were not written to {models} (status "
                    f"{done.returncode}, above is why): --models gives another place"
                )

    def _done(self) -> list[dict[str, Any]]:
        """Results that a cut run left behind, for --resume."""
        options = self._options
        return results.read([options.out]) if options.resume and options.out.exists() else []


_BEGAN = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _BEGAN:4.0f} s] {text}", file=sys.stderr, flush=True)
