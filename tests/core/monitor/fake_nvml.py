"""A pynvml with two GPUs that tests set as they like; what is None raises, as the real one does."""

# ruff: noqa: N801, N802, N818 - the names are pynvml's own
from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

GIB = 1 << 30


class NVMLError(Exception):
    pass


class NVMLError_LibraryNotFound(NVMLError):
    pass


@dataclass
class Gpu:
    uuid: str
    name: str = "H100"
    used: int | None = 0
    total: int = 80 * GIB
    processes: list[tuple[int, int | None]] | None = field(default_factory=list)
    utilization: float | None = 50
    temperature: float | None = 40
    power: float | None = 100_000
    capability: tuple[int, int] | None = (9, 0)
    slices: list[Gpu] = field(default_factory=list)


class FakeNvml:
    """Stands in for the pynvml module: put it into ``sys.modules``."""

    NVMLError = NVMLError

    def __init__(self, *gpus: Gpu, missing: bool = False, memory_v2: bool = True):
        self.gpus = list(gpus)
        self.missing = missing
        self.opened = 0
        self.memory_v2 = memory_v2
        self.nvmlMemory_v2 = 2

    def nvmlInit(self) -> None:
        if self.missing:
            raise NVMLError_LibraryNotFound("NVML Shared Library Not Found")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Gpu:
        every = [*self.gpus, *(part for gpu in self.gpus for part in gpu.slices)]
        return _told(next((gpu for gpu in every if gpu.uuid == uuid), None))

    def nvmlDeviceGetIndex(self, gpu: Gpu) -> int:
        return _told(self.gpus.index(gpu) if gpu in self.gpus else None)

    def nvmlDeviceGetUUID(self, gpu: Gpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu: Gpu) -> bytes:
        return gpu.name.encode()

    def nvmlDeviceGetMigMode(self, gpu: Gpu) -> list[int]:
        return [int(bool(gpu.slices)), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: Gpu) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: Gpu, place: int) -> Gpu:
        return _told(gpu.slices[place] if place < len(gpu.slices) else None)

    def nvmlDeviceGetMemoryInfo(self, gpu: Gpu, version: int | None = None) -> Any:
        if version and not self.memory_v2:
            raise NVMLError("Function Not Found")
        used = _told(gpu.used)
        return SimpleNamespace(used=used, free=gpu.total - used, total=gpu.total)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: Gpu) -> list[Any]:
        return [SimpleNamespace(pid=p, usedGpuMemory=size) for p, size in _told(gpu.processes)]

    def nvmlDeviceGetUtilizationRates(self, gpu: Gpu) -> Any:
        return SimpleNamespace(gpu=_told(gpu.utilization))

    def nvmlDeviceGetTemperature(self, gpu: Gpu, sensor: int) -> float:
        return _told(gpu.temperature)

    def nvmlDeviceGetPowerUsage(self, gpu: Gpu) -> float:
        return _told(gpu.power)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: Gpu) -> float:
        return 700_000

    def nvmlDeviceGetCudaComputeCapability(self, gpu: Gpu) -> tuple[int, int]:
        return _told(gpu.capability)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 13010


def _told(value: Any) -> Any:
    if value is None:
        raise NVMLError("Not Supported")
    return value
