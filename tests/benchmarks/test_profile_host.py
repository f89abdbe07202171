"""What the profile says about the host, from a small trace written by hand; and what is marked."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import profile_step

    monkeypatch.setattr(profile_step, "GPU", True)
    return profile_step


def event(kind: str, name: str, begin: int, end: int, thread: Any = 7, **args: Any) -> Any:
    return {"ph": "X", "cat": kind, "name": name, "ts": begin, "dur": end - begin, "tid": thread,
            "args": args}  # fmt: skip


TRACE = [
    event("kernel", "first", 0, 100, thread="stream 7", correlation=1),
    event("kernel", "second", 2100, 2200, thread="stream 7", correlation=2),
    event("kernel", "third", 2300, 2400, thread="stream 7", correlation=3),
    event("gpu_memcpy", "Memcpy HtoD", 150, 1900, thread="stream 9", correlation=4),
    event("user_annotation", "before_update", 50, 1600),
    event("cpu_op", "aten::item", 80, 1300),
    event("cpu_op", "aten::_local_scalar_dense", 90, 1290),
    event("cuda_runtime", "cudaMemcpyAsync", 100, 110),
    event("cuda_runtime", "cudaStreamSynchronize", 110, 1210),
    event("user_annotation", "step", 1700, 2090),
    event("cuda_runtime", "cudaLaunchKernel", 2050, 2085, correlation=2),
    event("cuda_runtime", "cudaGraphLaunch", 2150, 2160, correlation=3),
    event("cpu_op", "backward", 0, 5000, thread=8),
    event("cpu_op", "elsewhere", 4000, 5000, thread=9),
    event("python_function", "not recorded", 0, 5000),
    {"ph": "M", "name": "process_name", "args": {}},
]  # fmt: skip


def test_time_of_a_gap_goes_to_the_innermost_event(profile: Any) -> None:
    host = profile.profile_host
    events = [e for e in host.host_events(TRACE) if e.thread == "7"]
    found = {
        tuple(event.name for event in path): time
        for path, time in host.spent(events, 100, 2100).items()
    }
    chain = ("before_update", "aten::item", "aten::_local_scalar_dense")
    assert found == {
        (): 110, ("before_update",): 300, chain[:2]: 10, chain: 80, ("step",): 355,
        (*chain, "cudaMemcpyAsync"): 10, (*chain, "cudaStreamSynchronize"): 1100,
        ("step", "cudaLaunchKernel"): 35,
    }  # fmt: skip
    assert sum(found.values()) == 2000


def test_the_report_says_who_keeps_the_gpu_waiting(profile: Any) -> None:
    host = profile.profile_host.host_events(TRACE)
    lines = profile.told(profile.launches(TRACE), 3, host).splitlines()
    start = next(number for number, line in enumerate(lines) if "2000 us between" in line)
    assert " ".join(lines[start].split()) == "2000 us between first and second"
    gap = [" ".join(line.split()) for line in lines[start + 1 : start + 7]]
    assert gap == [
        "launched 50 us before the gap's end, in 35 us",
        "1,100 us (of 1,100) before_update > aten::item > aten::_local_scalar_dense > "
        "cudaStreamSynchronize",
        "355 us (of 390) step",
        "300 us (of 1,550) before_update",
        "110 us nothing that is recorded",
        "2,000 us (of 5,000) thread 8: backward",
    ]
    assert "100 us between second and third" in " ".join(lines[start + 7].split())
    assert "launched 40 us before the gap: not the host's" in lines[start + 8]
    # 1,500 + 390 + 210 us of both gaps, in two steps.
    stages = lines[next(n for n, line in enumerate(lines) if "by the stage" in line) + 1 :][:3]
    assert [line.split(maxsplit=2)[2] for line in stages] == ["before_update", "step", "no stage"]
    assert stages[0].split()[0] == "0.75"


def test_deep_stacks_are_shortened(profile: Any) -> None:
    host = profile.profile_host
    assert host._path(tuple("abcde"), "none") == "a > b > c > d > e"
    assert host._path(tuple("abcdef"), "none") == "a > b > ... > e > f"
    assert host._path((), "none") == "none"


def test_without_the_host_the_report_is_as_before(profile: Any) -> None:
    report = profile.told(profile.launches(TRACE), 3)
    assert "between first and second" in report
    assert "launched" not in report
    assert "stage" not in report


def test_what_is_marked_is_left_as_it_was(profile: Any) -> None:
    from core.model.fast.model import FastModel
    from core.train.trainer import DurableTrainer

    names = ("training_step", "get_batch_samples", "before_update")
    before = [getattr(DurableTrainer, name) for name in names], FastModel._run
    with profile.profile_host.marked():
        assert DurableTrainer.training_step is not before[0][0]
    assert before == ([getattr(DurableTrainer, name) for name in names], FastModel._run)
    assert "training_step" not in vars(DurableTrainer)


def test_a_stage_says_which_pass_it_is(profile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[str] = []

    def record(label: str) -> Any:
        labels.append(label)
        return nullcontext()

    monkeypatch.setattr(profile.torch.profiler, "record_function", record)
    run = profile.profile_host._annotated(lambda _, key, what: (key, what), "FastModel._run")
    assert run(None, (4096,), "forward") == ((4096,), "forward")
    assert labels == ["FastModel._run forward"]


@pytest.mark.trains
def test_the_stages_of_a_tiny_step(
    profile: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "GPU", torch.cuda.is_available())
    monkeypatch.setattr(sys, "argv", ["profile_step", "tiny", "--host", "--steps", "5"])
    profile.main()
    _, _, stages = capsys.readouterr().out.partition("by the stage of the main thread:")
    assert "DurableTrainer.training_step" in stages
