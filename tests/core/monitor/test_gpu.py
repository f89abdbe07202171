"""The sampler against a fake NVML: ours and others, hidden process ids, unknown numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import psutil
import pytest
from fake_nvml import GIB, FakeNvml, Gpu

from core.monitor.gpu import Sampler, family, to_event
from core.record.events import GpuSampled, ProcessSampled

Install = Callable[..., FakeNvml]
ME = os.getpid()
NOBODY = 2**22 - 7  # no process of this machine


def ours() -> set[int]:
    return {ME}


def test_ours_and_others_are_told_apart(nvml: Install) -> None:
    nvml(Gpu("GPU-a", used=9 * GIB, processes=[(ME, 6 * GIB), (1, 3 * GIB)]))
    (reading,) = Sampler(pids=ours).sample()
    assert (reading.ours_bytes, reading.others_bytes) == (6 * GIB, 3 * GIB)
    assert (reading.total_bytes, reading.ours_is_estimate) == (80 * GIB, False)
    assert (reading.power_watts, reading.power_limit_watts) == (100, 700)


def test_children_of_the_worker_count_as_ours(nvml: Install) -> None:
    child = psutil.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    try:
        assert {ME, child.pid} <= family()
        nvml(Gpu("GPU-a", used=3 * GIB, processes=[(ME, GIB), (child.pid, 2 * GIB)]))
        assert Sampler().sample()[0].ours_bytes == 3 * GIB
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("processes", [[], [(NOBODY, 5 * GIB)], None, [(ME, None)]])
def test_hidden_process_ids_give_an_estimate_above_the_baseline(
    nvml: Install, processes: list[tuple[int, int | None]] | None
) -> None:
    gpu = Gpu("GPU-a", used=2 * GIB)
    nvml(gpu)
    sampler = Sampler(pids=ours)
    gpu.used, gpu.processes = 7 * GIB, processes
    (reading,) = sampler.sample()
    assert reading.ours_is_estimate
    assert (reading.ours_bytes, reading.others_bytes) == (5 * GIB, 2 * GIB)


def test_a_visible_neighbour_is_not_taken_for_us(nvml: Install) -> None:
    gpu = Gpu("GPU-a")
    nvml(gpu)
    sampler = Sampler(pids=ours)
    gpu.used, gpu.processes = 4 * GIB, [(os.getppid(), 4 * GIB)]
    (reading,) = sampler.sample()
    assert (reading.ours_bytes, reading.ours_is_estimate) == (0, False)
    assert reading.others_bytes == 4 * GIB


def test_only_the_named_gpu_is_watched(nvml: Install) -> None:
    nvml(Gpu("GPU-a"), Gpu("GPU-b", name="A100"))
    sampler = Sampler(["GPU-b"], pids=ours)
    (reading,) = sampler.sample()
    assert (reading.uuid, reading.index, reading.name) == ("GPU-b", 1, "A100")
    assert [r.uuid for r in Sampler(pids=ours).sample()] == ["GPU-a", "GPU-b"]


def test_what_nvml_does_not_tell_is_minus_one(nvml: Install) -> None:
    gpu = Gpu("GPU-a", utilization=None, temperature=None, power=None)
    nvml(gpu)
    sampler = Sampler(pids=ours)
    (reading,) = sampler.sample()
    unknown = (reading.utilization_percent, reading.temperature_celsius, reading.power_watts)
    assert unknown == (-1, -1, -1)
    gpu.used = None  # the GPU fell off the bus
    (reading,) = sampler.sample()
    assert (reading.ours_bytes, reading.others_bytes, reading.total_bytes) == (-1, -1, -1)


def test_an_old_driver_without_the_second_memory_call_still_tells(nvml: Install) -> None:
    nvml(Gpu("GPU-a", used=GIB, processes=[(ME, GIB)]), memory_v2=False)
    assert Sampler(pids=ours).sample()[0].total_bytes == 80 * GIB


def test_a_mig_slice_is_found_by_its_uuid(nvml: Install) -> None:
    nvml(Gpu("GPU-a", slices=[Gpu("MIG-1", total=10 * GIB, utilization=None)]))
    (reading,) = Sampler(["MIG-1"], pids=ours).sample()
    assert (reading.uuid, reading.total_bytes, reading.index) == ("MIG-1", 10 * GIB, -1)


def test_without_a_gpu_the_reason_stands_beside_process_memory(nvml: Install) -> None:
    nvml(missing=True)
    sampler = Sampler(pids=ours)
    assert sampler.sample() == []
    assert "no NVIDIA driver" in sampler.why
    reading = sampler.process_reading()
    assert reading.why == sampler.why
    assert 0 < reading.rss_bytes < reading.total_bytes
    assert 0 < reading.available_bytes <= reading.total_bytes


def test_reasons_for_no_gpu(nvml: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(Gpu("GPU-a"))
    assert Sampler([]).why == "this run computes on the CPU"
    assert "GPU-x" in Sampler(["GPU-x"]).why
    monkeypatch.setitem(sys.modules, "pynvml", None)  # type: ignore[arg-type]
    assert "nvidia-ml-py is not installed" in Sampler().why


def test_processor_use_is_measured_between_two_readings(nvml: Install) -> None:
    nvml(missing=True)
    sampler = Sampler(pids=ours)
    sampler.process_reading()
    sum(range(3_000_000))
    assert sampler.process_reading().cpu_percent > 10


def test_close_ends_the_session_and_says_so(nvml: Install) -> None:
    fake = nvml(Gpu("GPU-a"))
    sampler = Sampler(pids=ours)
    sampler.close()
    sampler.close()
    assert fake.opened == 0
    assert (sampler.sample(), sampler.why) == ([], "the sampler is closed")


def test_readings_become_events_with_their_step(nvml: Install) -> None:
    nvml(Gpu("GPU-a", used=GIB, processes=[(ME, GIB)]))
    sampler = Sampler(pids=ours)
    event = to_event(sampler.sample()[0], step=7)
    assert isinstance(event, GpuSampled)
    assert (event.step, event.ours_bytes) == (7, GIB)
    process = to_event(sampler.process_reading(), step=8)
    assert isinstance(process, ProcessSampled)
    assert (process.step, process.why) == (8, "")
