"""Which GPUs there are, who uses them, and which one a run takes. By NVML alone, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from core.config.errors import InputError
from core.monitor.nvml import NoNvmlError, Nvml

_GIB = 1 << 30
_FP8_CAPABILITY = (8, 9)
"""The first that multiplies in FP8: Ada. Hopper has 9.0, Blackwell 10.0 and 12.0."""


@dataclass(frozen=True)
class User:
    """A process on a GPU. ``used_bytes`` is -1 where NVML does not tell."""

    pid: int
    name: str
    used_bytes: int


@dataclass(frozen=True)
class Gpu:
    """One GPU now. ``index`` counts in PCI order, as nvidia-smi does."""

    index: int
    uuid: str
    name: str
    free_bytes: int
    total_bytes: int
    users: tuple[User, ...] = ()
    capability: tuple[int, int] | None = None
    """CUDA compute capability, where NVML tells it."""

    @property
    def bf16(self) -> bool:
        """Whether it computes in bf16: Ampere and newer, and what is not told."""
        return self.capability is None or self.capability >= (8, 0)

    @property
    def label(self) -> str:
        return f"{self.index} ({self.name}, {self.free_bytes / _GIB:.1f} GiB free)"


@dataclass(frozen=True)
class Listing:
    """All GPUs of the machine; ``why`` says in words why there are none."""

    gpus: tuple[Gpu, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Chosen:
    """Where a run computes. ``uuid`` None means the CPU; ``why`` is for the status line."""

    uuid: str | None
    name: str
    why: str


def listing() -> Listing:
    """Ask NVML for the GPUs of this machine."""
    try:
        nvml = Nvml()
    except NoNvmlError as error:
        return Listing(why=str(error))
    try:
        gpus = tuple(_gpu(nvml, place, handle) for place, handle in enumerate(nvml.handles()))
    finally:
        nvml.close()
    return Listing(gpus, "" if gpus else "no GPU: the NVIDIA driver shows none")


def pick(
    devices: str, found: Listing | None = None, environ: Mapping[str, str] | None = None
) -> Chosen:
    """The device that ``run.devices`` means: auto, cpu, an index or a UUID.

    An existing CUDA_VISIBLE_DEVICES is respected: only its GPUs can be taken, and an index counts
    within it, as it does in torch. Raises InputError, with the GPUs there are, for one that is
    not there.
    """
    wanted = devices.strip() or "auto"
    if wanted.lower() == "cpu":
        return Chosen(None, "CPU", "run.devices is cpu")
    found = listing() if found is None else found
    mask = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    gpus = found.gpus if mask is None else visible(found.gpus, mask)
    if wanted.lower() == "auto":
        return _automatic(gpus, found, mask)
    if not gpus:
        raise InputError(
            f"invalid device: run.devices is {wanted!r}, but {_none(found, mask)}",
            kind="no_device",
            remedies=("set run.devices to auto or cpu", "see what finetui doctor says"),
        )
    return _named(wanted, gpus, mask)


def before_fp8(name: str, capability: tuple[int, int] | None) -> str:
    """Why a GPU does not multiply in FP8; empty when it does, and where its age is not told."""
    if capability is None or capability >= _FP8_CAPABILITY:
        return ""
    major, minor = capability
    return (
        f"{name} has compute capability {major}.{minor}, and FP8 takes 8.9 or more (Ada, Hopper, "
        "Blackwell)"
    )


def visible(gpus: tuple[Gpu, ...], mask: str) -> tuple[Gpu, ...]:
    """The GPUs that a CUDA_VISIBLE_DEVICES lets through, in its order.

    As in CUDA, entries after the first that names no GPU do not count.
    """
    through: list[Gpu] = []
    for entry in (part.strip() for part in mask.split(",")):
        one = _match(entry, gpus)
        if one is None or one in through:
            break
        through.append(one)
    return tuple(through)


def environment(chosen: Chosen, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What to add to a worker's environment so that it sees the chosen device and no other.

    An allocator setting that the user made stays as it is.
    """
    outer = os.environ if environ is None else environ
    added = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": chosen.uuid or "",
        "PYTHONSAFEPATH": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if chosen.uuid is None and "OMP_WAIT_POLICY" not in outer:
        # Threads that spin while they wait make two trainings on the same cores ten times slower.
        added["OMP_WAIT_POLICY"] = "PASSIVE"
    allocator = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # today's name and the old one
    if not any(name in outer for name in allocator):
        added |= dict.fromkeys(allocator, "expandable_segments:True")
    return added


def _gpu(nvml: Nvml, place: int, handle: object) -> Gpu:
    memory, index = nvml.memory(handle), nvml.index(handle)
    users = tuple(
        User(one.pid, _process_name(one.pid), -1 if one.used_bytes is None else one.used_bytes)
        for one in nvml.holdings(handle) or ()
    )
    return Gpu(
        place if index is None else index,
        nvml.uuid(handle) or "",
        nvml.name(handle) or "GPU",
        memory.free_bytes if memory else 0,
        memory.total_bytes if memory else 0,
        users,
        nvml.compute_capability(handle),
    )


def _automatic(gpus: tuple[Gpu, ...], found: Listing, mask: str | None) -> Chosen:
    if not gpus:
        return Chosen(None, "CPU", _none(found, mask))
    best = max(gpus, key=lambda gpu: gpu.free_bytes)
    if len(gpus) == 1:
        return Chosen(best.uuid, best.name, "the only GPU")
    return Chosen(
        best.uuid,
        best.name,
        f"GPU {best.index} has the most free memory: {best.free_bytes / _GIB:.1f} GiB",
    )


def _named(wanted: str, gpus: tuple[Gpu, ...], mask: str | None) -> Chosen:
    if "," in wanted:
        raise InputError(
            f"invalid device: run.devices is {wanted!r}, but a run takes one GPU",
            kind="no_device",
            remedies=("give one index or UUID, or auto",),
        )
    number = wanted.lower().removeprefix("cuda:")
    if number.isdigit():
        # Within a mask an index counts the mask's own entries; else it is NVML's.
        if mask is not None:
            one = gpus[int(number)] if int(number) < len(gpus) else None
        else:
            one = next((gpu for gpu in gpus if gpu.index == int(number)), None)
    else:
        one = _match(wanted, gpus)
    if one is None:
        there = ", ".join(
            f"{place} = GPU {gpu.label}" if mask is not None else gpu.label
            for place, gpu in enumerate(gpus)
        )
        within = f" within CUDA_VISIBLE_DEVICES={mask}" if mask is not None else ""
        raise InputError(
            f"invalid device: run.devices is {wanted!r}, but there is no such GPU{within}; "
            f"there is {there}",
            kind="no_device",
            remedies=("set run.devices to one of these, or to auto or cpu",),
        )
    return Chosen(one.uuid, one.name, f"run.devices is {wanted}")


def _match(entry: str, gpus: tuple[Gpu, ...]) -> Gpu | None:
    """The GPU of an index, a UUID or the unambiguous beginning of a UUID, as CUDA reads them."""
    if entry.isdigit():
        return next((gpu for gpu in gpus if gpu.index == int(entry)), None)
    if not entry.upper().startswith(("GPU-", "MIG-")) or len(entry) == len("GPU-"):
        return None
    fitting = [gpu for gpu in gpus if gpu.uuid.lower().startswith(entry.lower())]
    return fitting[0] if len(fitting) == 1 else None


def _none(found: Listing, mask: str | None) -> str:
    if found.gpus and mask is not None:
        return f"CUDA_VISIBLE_DEVICES={mask!r} hides the GPUs"
    return found.why or "no GPU was found"


def _process_name(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "?"  # another user's, or one outside this container
