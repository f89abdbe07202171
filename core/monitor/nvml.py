"""The one door to NVML: a session whose unanswered questions come back as None, never a crash.

pynvml is imported when a session opens, so that programs without a GPU never pay for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class NoNvmlError(Exception):
    """NVML cannot be used here; the text says why, in words for the screen."""


@dataclass(frozen=True)
class Memory:
    """A device's memory. ``used_bytes`` leaves out what the driver keeps for itself."""

    used_bytes: int
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Holding:
    """What one process holds on a device; ``used_bytes`` is None where NVML does not tell."""

    pid: int
    used_bytes: int | None


class Nvml:
    """An open NVML session. Handles are opaque; every answer may be None: not told."""

    def __init__(self) -> None:
        """Open NVML. Raises NoNvmlError, with the reason, where that is not possible."""
        try:
            import pynvml
        except ImportError as error:
            raise NoNvmlError("the GPU cannot be asked: nvidia-ml-py is not installed") from error
        self._lib = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise NoNvmlError(_why(error)) from error

    def close(self) -> None:
        self._ask("nvmlShutdown")

    def handles(self) -> list[Any]:
        """Every GPU that answers, in PCI order; a GPU cut into MIG slices stands as its slices.

        A GPU that fell off the bus is left out.
        """
        count = self._ask("nvmlDeviceGetCount") or 0
        found = [self._ask("nvmlDeviceGetHandleByIndex", index) for index in range(count)]
        return [part for handle in found if handle is not None for part in self._parts(handle)]

    def by_uuid(self, uuid: str) -> Any | None:
        return self._ask("nvmlDeviceGetHandleByUUID", uuid)

    def index(self, handle: Any) -> int | None:
        answer = self._ask("nvmlDeviceGetIndex", handle)
        return None if answer is None else int(answer)

    def uuid(self, handle: Any) -> str | None:
        return _text(self._ask("nvmlDeviceGetUUID", handle))

    def name(self, handle: Any) -> str | None:
        return _text(self._ask("nvmlDeviceGetName", handle))

    def memory(self, handle: Any) -> Memory | None:
        # Version 2 tells the driver's own reserve apart; older drivers only have version 1.
        version = getattr(self._lib, "nvmlMemory_v2", None)
        info = self._ask("nvmlDeviceGetMemoryInfo", handle, version) if version else None
        info = info or self._ask("nvmlDeviceGetMemoryInfo", handle)
        return Memory(int(info.used), int(info.free), int(info.total)) if info else None

    def holdings(self, handle: Any) -> list[Holding] | None:
        """The processes that compute on a device, as far as NVML shows them."""
        found: Iterable[Any] | None = self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
        if found is None:
            return None
        return [Holding(int(one.pid), one.usedGpuMemory) for one in found]

    def utilization_percent(self, handle: Any) -> float | None:
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        return None if rates is None else float(rates.gpu)

    def temperature_celsius(self, handle: Any) -> float | None:
        return _float(self._ask("nvmlDeviceGetTemperature", handle, _GPU_SENSOR))

    def power_watts(self, handle: Any) -> float | None:
        return _watts(self._ask("nvmlDeviceGetPowerUsage", handle))

    def power_limit_watts(self, handle: Any) -> float | None:
        return _watts(self._ask("nvmlDeviceGetEnforcedPowerLimit", handle))

    def compute_capability(self, handle: Any) -> tuple[int, int] | None:
        """Major and minor; 8.0 (Ampere) and above compute in bf16."""
        answer = self._ask("nvmlDeviceGetCudaComputeCapability", handle)
        return None if answer is None else (int(answer[0]), int(answer[1]))

    def driver(self) -> str | None:
        return _text(self._ask("nvmlSystemGetDriverVersion"))

    def cuda(self) -> tuple[int, int] | None:
        """The newest CUDA version that the driver can run."""
        answer = self._ask("nvmlSystemGetCudaDriverVersion")
        return None if answer is None else (int(answer) // 1000, int(answer) % 1000 // 10)

    def _parts(self, handle: Any) -> list[Any]:
        mode = self._ask("nvmlDeviceGetMigMode", handle)
        if not mode or not mode[0]:
            return [handle]
        count = self._ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0
        parts = (self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, n) for n in range(count))
        return [part for part in parts if part is not None]

    def _ask(self, function: str, *arguments: Any) -> Any | None:
        try:
            return getattr(self._lib, function)(*arguments)
        except self._lib.NVMLError:
            return None  # not supported here (MIG, old driver, no permission): unknown, not fatal


_GPU_SENSOR = 0
"""NVML_TEMPERATURE_GPU: the die itself."""


def _why(error: Exception) -> str:
    name = type(error).__name__
    if "LibraryNotFound" in name:
        return "no GPU: there is no NVIDIA driver on this machine"
    if "DriverNotLoaded" in name:
        return "no GPU: the NVIDIA driver is installed, but not loaded"
    if "LibRmVersionMismatch" in name:
        return "the GPU cannot be asked: the driver was updated and awaits a reboot"
    if "NoPermission" in name:
        return "the GPU cannot be asked: no permission for the NVIDIA devices"
    return f"the GPU cannot be asked: {error}"


def _text(answer: Any) -> str | None:
    if answer is None:
        return None
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)


def _float(answer: Any) -> float | None:
    return None if answer is None else float(answer)


def _watts(milliwatts: Any) -> float | None:
    return None if milliwatts is None else float(milliwatts) / 1000
