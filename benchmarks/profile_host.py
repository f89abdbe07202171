"""What the host does while the GPU waits: the events of a trace that fall into a gap.

``profile_step.py --host`` prints this. ``marked`` gives the stages of a step names in the trace, so
that a gap which no operation of torch fills has one, too.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

_KINDS = {"cpu_op", "cuda_runtime", "cuda_driver", "user_annotation"}
_SHOWN = 4
"""Stacks of events that are listed for a gap."""
_ENDS = 2
"""Of a deep stack so many names at either end are shown."""
_STAGES = (
    (
        "core.train.trainer", "DurableTrainer",
        ("training_step", "_clip_grad_norm", "before_update", "look_ahead", "after_step",
         "get_batch_samples", "_maybe_log_save_evaluate"),
    ),
    ("accelerate.optimizer", "AcceleratedOptimizer", ("step",)),
    ("core.model.fast.model", "FastModel", ("_batches_of", "_run", "backward")),
    ("core.model.fast.head", "Head", ("loss",)),
    ("core.model.fast.streamed", "StreamedHead", ("loss",)),
)  # fmt: skip
"""Modules, classes and methods that are a step's stages."""


@contextmanager
def marked() -> Iterator[None]:
    """While it lasts, each stage of a step is recorded as an annotation, ``Class.method``."""
    with ExitStack() as stack:
        for module, name, methods in _STAGES:
            owner = getattr(importlib.import_module(module), name)
            for method in methods:
                found = _annotated(getattr(owner, method), f"{name}.{method}")
                stack.enter_context(mock.patch.object(owner, method, found))
        yield


def _annotated(method: Callable[..., Any], label: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        # ``_run`` tells which pass it runs.
        words = [label, *(part for part in args[1:] if isinstance(part, str))]
        with torch.profiler.record_function(" ".join(words)):
            return method(*args, **kwargs)

    return recorded


@dataclass(frozen=True)
class Event:
    """Something the host did; times in microseconds. Events of one thread are nested."""

    begin: float
    end: float
    name: str
    thread: str
    stage: bool
    """An annotation, not an operation or a call of CUDA."""


def host_events(trace: list[dict[str, Any]]) -> list[Event]:
    """All events of the host in a trace's ``traceEvents``; outer ones before what is in them."""
    found = [
        Event(e["ts"], e["ts"] + e["dur"], e["name"], str(e["tid"]), e["cat"] == "user_annotation")
        for e in trace
        if e.get("ph") == "X" and e.get("cat") in _KINDS
    ]
    return sorted(found, key=lambda event: (event.begin, -event.end))


def main_thread(events: list[Event]) -> str:
    """The one that the first stage runs in; without stages, the first of all."""
    first = next((event for event in events if event.stage), events[0] if events else None)
    return first.thread if first else ""


def spent(events: list[Event], begin: float, end: float) -> dict[tuple[Event, ...], float]:
    """Microseconds of a gap that one thread was in each stack of events, and no deeper.

    ``events`` are those of the thread, in order. The empty stack is what no event covers.
    """
    found: Counter[tuple[Event, ...]] = Counter({(): end - begin})
    stack: list[Event] = []
    for event in events:
        overlap = min(event.end, end) - max(event.begin, begin)
        if overlap <= 0:
            continue
        while stack and stack[-1].end <= event.begin:
            stack.pop()
        found[tuple(stack)] -= overlap
        stack.append(event)
        found[tuple(stack)] += overlap
    return {path: time for path, time in found.items() if time > 0}


def told(events: list[Event], begin: float, end: float) -> list[str]:
    """Lines about a gap: where the host was, outermost event first, those of most time first."""
    main, lines = main_thread(events), []
    for thread in sorted({event.thread for event in events}, key=lambda name: name != main):
        own = [event for event in events if event.thread == thread]
        times: Counter[tuple[str, ...]] = Counter()
        longest: Counter[tuple[str, ...]] = Counter()
        for path, time in spent(own, begin, end).items():
            names = tuple(event.name for event in path)
            times[names] += time
            if path:
                longest[names] = max(longest[names], path[-1].end - path[-1].begin)
        if thread != main and set(times) == {()}:
            continue
        beside = "" if thread == main else f"thread {thread}: "
        for names, time in times.most_common(_SHOWN):
            whole = f" (of {longest[names]:,.0f})" if names else ""
            path = _path(names, "nothing that is recorded")
            lines.append(f"{time:14,.0f} us{whole} {beside}{path}")
    return lines


def _path(names: tuple[str, ...], without: str) -> str:
    short = [name[:60] for name in names] or [without]
    if len(short) > 2 * _ENDS + 1:
        short[_ENDS:-_ENDS] = ["..."]
    return " > ".join(short)


def by_stage(events: list[Event], gaps: list[tuple[float, float]]) -> list[tuple[str, float]]:
    """Microseconds of all these gaps by the stages that the main thread was in."""
    main = main_thread(events)
    stages = [event for event in events if event.stage and event.thread == main]
    found: Counter[str] = Counter()
    for begin, end in gaps:
        for path, time in spent(stages, begin, end).items():
            found[_path(tuple(event.name for event in path), "no stage")] += time
    return found.most_common()
