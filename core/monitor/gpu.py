"""How much of the GPU a run uses, once a second, for the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psutil

from core.monitor.nvml import Holding, NoNvmlError, Nvml
from core.record.events import GpuReading, GpuSampled, ProcessReading, ProcessSampled

UNKNOWN = -1
"""Stands in a reading for what NVML does not tell."""


@dataclass
class _Watched:
    handle: Any
    index: int
    uuid: str
    name: str
    baseline_bytes: int


def family(pid: int | None = None) -> set[int]:
    """A process (this one when none is given) and everything it started."""
    try:
        root = psutil.Process(pid)
        return {root.pid, *(child.pid for child in root.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


class Sampler:
    """Reads GPUs and the watched processes. Make it before the first tensor reaches the GPU.

    The memory in use at that moment is the baseline where process ids are hidden. One thread
    at a time may call it.
    """

    def __init__(
        self,
        devices: Iterable[str] | None = None,
        pids: Callable[[], set[int]] = family,
    ):
        """Watch the GPUs with these UUIDs (all when None, none when empty).

        ``pids`` gives the processes that count as ours, asked at every sample.
        """
        self.why = ""
        """Why there is no GPU to sample, in words; empty when there is one."""
        self._pids = pids
        self._processes: dict[int, psutil.Process] = {}
        self._nvml: Nvml | None = None
        self._watched: list[_Watched] = []
        wanted = None if devices is None else list(devices)
        if wanted == []:
            self.why = "this run computes on the CPU"
            return
        try:
            self._nvml = Nvml()
        except NoNvmlError as error:
            self.why = str(error)
            return
        self._watched = self._watch(self._nvml, wanted)
        if not self._watched:
            named = f" {', '.join(wanted)}" if wanted else ""
            self.why = f"NVML does not show the GPU{named}"

    def sample(self) -> list[GpuReading]:
        """One reading a GPU; an empty list where ``why`` gives the reason."""
        if self._nvml is None or not self._watched:
            return []
        ours = self._pids()
        return [self._read(self._nvml, watched, ours) for watched in self._watched]

    def process_reading(self) -> ProcessReading:
        """The watched processes on the host. The first call's ``cpu_percent`` is 0."""
        rss, cpu = 0, 0.0
        alive = self._pids()
        # psutil measures processor use between two calls on the same object: keep the objects.
        self._processes = {pid: p for pid, p in self._processes.items() if pid in alive}
        for pid in alive:
            try:
                process = self._processes.setdefault(pid, psutil.Process(pid))
                rss += process.memory_info().rss
                cpu += process.cpu_percent()
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                self._processes.pop(pid, None)  # it ended between the list and the look
        memory = psutil.virtual_memory()
        return ProcessReading(
            rss_bytes=rss,
            available_bytes=memory.available,
            total_bytes=memory.total,
            cpu_percent=cpu,
            why=self.why,
        )

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.close()
            self._nvml, self._watched = None, []
            self.why = "the sampler is closed"

    def _watch(self, nvml: Nvml, wanted: list[str] | None) -> list[_Watched]:
        handles = nvml.handles() if wanted is None else [nvml.by_uuid(uuid) for uuid in wanted]
        watched = []
        for place, handle in enumerate(handles):
            if handle is None:
                continue
            memory, index = nvml.memory(handle), nvml.index(handle)
            watched.append(
                _Watched(
                    handle,
                    UNKNOWN if index is None else index,
                    nvml.uuid(handle) or (wanted[place] if wanted else ""),
                    nvml.name(handle) or "GPU",
                    memory.used_bytes if memory else 0,
                )
            )
        return watched

    def _read(self, nvml: Nvml, watched: _Watched, ours: set[int]) -> GpuReading:
        handle = watched.handle
        memory = nvml.memory(handle)
        held, estimated, others = UNKNOWN, False, UNKNOWN
        if memory is not None:
            held, estimated = _held(nvml.holdings(handle), ours, memory.used_bytes, watched)
            others = max(0, memory.used_bytes - held)
        return GpuReading(
            index=watched.index,
            uuid=watched.uuid,
            name=watched.name,
            ours_bytes=held,
            others_bytes=others,
            total_bytes=memory.total_bytes if memory else UNKNOWN,
            utilization_percent=_known(nvml.utilization_percent(handle)),
            temperature_celsius=_known(nvml.temperature_celsius(handle)),
            power_watts=_known(nvml.power_watts(handle)),
            power_limit_watts=_known(nvml.power_limit_watts(handle)),
            ours_is_estimate=estimated,
        )


def to_event(reading: GpuReading | ProcessReading, step: int) -> GpuSampled | ProcessSampled:
    """The journal's event for a reading, stamped with the newest training step."""
    if isinstance(reading, GpuReading):
        return GpuSampled(step=step, **vars(reading))
    return ProcessSampled(step=step, **vars(reading))


def _held(
    holdings: list[Holding] | None, ours: set[int], used_bytes: int, watched: _Watched
) -> tuple[int, bool]:
    """What we hold, and whether that is an estimate."""
    mine = [one.used_bytes for one in holdings or () if one.pid in ours]
    told = [size for size in mine if size is not None]
    if mine and len(told) == len(mine):
        return sum(told), False
    grown = max(0, used_bytes - watched.baseline_bytes)
    if holdings is not None and not mine:
        # Nothing of ours is listed. When every listed process is one that this machine knows,
        # the list can be believed; a container shows none, or the host's ids.
        known = all(psutil.pid_exists(one.pid) for one in holdings)
        if known and (holdings or not grown):
            return 0, False
    return grown, True


def _known(answer: float | None) -> float:
    return UNKNOWN if answer is None else answer
