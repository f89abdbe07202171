"""What this machine can and cannot do for a run, each finding with its fix.

Torch is asked in a process of its own, so that whoever asks the doctor stays free of it.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from packaging.requirements import InvalidRequirement, Requirement

from core.config.errors import InputError
from core.monitor.devices import Chosen, Listing, before_fp8, environment, listing, pick
from core.monitor.nvml import NoNvmlError, Nvml

Level = Literal["ok", "warn", "fail"]

_GIB = 1 << 30
_TORCH_SECONDS = 120
_HUB_SECONDS = 4
_SMALL_GPU_BYTES = 8_000_000_000
_LOW_RAM_GIB = 4
_LOW_DISK_GIB = 10
_SMALL_SHM_BYTES = 256 << 20
_SHM = "/dev/shm"  # noqa: S108 - looked at, never written
_NF4_ERROR_LIMIT = 0.12
"""Mean relative error of a good NF4 round trip on normal weights is 0.07 to 0.10."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``fix`` is what to do about it, empty when all is well."""

    name: str
    level: Level
    text: str
    fix: str = ""


def checks(root: Path) -> Iterator[Finding]:
    """The findings one by one, the quick ones first. ``root`` is where runs are kept.

    All of them take seconds: torch is started, and the hub is asked.
    """
    yield python()
    found = listing()
    yield from gpus(found)
    yield from driver()
    yield memory()
    yield disk(root)
    yield shared_memory()
    yield from libraries(requirements())
    yield login_manager()
    yield hub()
    yield from torch_findings(found)


def python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def gpus(found: Listing) -> Iterator[Finding]:
    """One finding a GPU; small ones and the lack of any are warnings, for a CPU can train too."""
    if not found.gpus:
        yield Finding(
            "GPU",
            "warn",
            f"{found.why}: training runs on the CPU, which is slow",
            "small models and the demo run on the CPU; for more, use a machine with an NVIDIA GPU",
        )
    for gpu in found.gpus:
        free = f"{gpu.free_bytes / _GIB:.1f} of {gpu.total_bytes / _GIB:.1f} GiB free"
        used = "".join(f"; {user.name} (pid {user.pid}) is on it" for user in gpu.users)
        text = f"{gpu.name}, {free}{used}"
        small = gpu.total_bytes < _SMALL_GPU_BYTES
        yield Finding(
            f"GPU {gpu.index}",
            "warn" if small else "ok",
            text,
            "under 8 GB: take a model of at most 3B, data.max_length 512, batch size 1"
            if small
            else "",
        )


def driver() -> Iterator[Finding]:
    """Driver, CUDA and bf16, as NVML tells them; nothing where there is no NVML."""
    try:
        nvml = Nvml()
    except NoNvmlError:
        return
    try:
        cuda, handles = nvml.cuda(), nvml.handles()
        capabilities = [nvml.compute_capability(handle) for handle in handles]
        runs = f", runs CUDA up to {cuda[0]}.{cuda[1]}" if cuda else ""
        yield Finding("Driver", "ok", f"{nvml.driver() or 'version unknown'}{runs}")
    finally:
        nvml.close()
    for place, capability in enumerate(capabilities):
        if capability is None:
            yield Finding(f"bf16 on GPU {place}", "warn", "NVML does not tell the GPU's generation")
        elif capability < (8, 0):
            yield Finding(
                f"bf16 on GPU {place}",
                "warn",
                f"no: compute capability {capability[0]}.{capability[1]} is before Ampere",
                "leave model.dtype on auto: it takes fp16 here",
            )
        else:
            found = "yes" if before_fp8("", capability) else "yes, and FP8"
            yield Finding(
                f"bf16 on GPU {place}",
                "ok",
                f"{found} (compute capability {capability[0]}.{capability[1]})",
            )


def memory() -> Finding:
    ram = psutil.virtual_memory()
    text = f"{ram.available / _GIB:.1f} of {ram.total / _GIB:.1f} GiB free"
    if ram.available < _LOW_RAM_GIB * _GIB:
        return Finding("RAM", "warn", text, "close other programs; a merge needs RAM for the base")
    return Finding("RAM", "ok", text)


def disk(root: Path) -> Finding:
    """Room where runs are kept, or would be made."""
    there = next(path for path in (root, *root.absolute().parents) if path.exists())
    usage = shutil.disk_usage(there)
    text = f"{usage.free / _GIB:.1f} GiB free for runs in {root}"
    if not os.access(there, os.W_OK):
        return Finding("Disk", "fail", f"{there} may not be written", "choose a place with --runs")
    if usage.free < _LOW_DISK_GIB * _GIB:
        return Finding(
            "Disk", "warn", text, "a merged model needs its full size: free room, or set --runs"
        )
    return Finding("Disk", "ok", text)


def shared_memory(path: Path | None = None) -> Finding:
    """Room in /dev/shm, which processes use to hand tensors to each other."""
    path = path or Path(_SHM)
    if not path.is_dir():
        return Finding(_SHM, "warn", "not there", f"mount a tmpfs on {_SHM}")
    total = shutil.disk_usage(path).total
    if total < _SMALL_SHM_BYTES:
        fix = "start the container with --shm-size=2g"
        return Finding(_SHM, "warn", f"only {total >> 20} MiB", fix)
    return Finding(_SHM, "ok", f"{total / _GIB:.1f} GiB")


def requirements() -> list[str]:
    """The tested ranges: of the installed package, else of the pyproject.toml beside ours."""
    try:
        return importlib.metadata.requires("finetui") or []
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
    try:
        declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return []
    return [str(line) for line in declared]


def libraries(required: list[str]) -> Iterator[Finding]:
    """Installed versions against the tested ranges; extras are left out."""
    if not required:
        yield Finding("Libraries", "warn", "the tested ranges were not found", "reinstall finetui")
    fitting = []
    for line in required:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        fix = f"python -m pip install '{wanted.name}{wanted.specifier}'"
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(wanted.name, "fail", "is not installed", fix)
            continue
        if wanted.specifier.contains(version, prereleases=True):
            fitting.append(f"{wanted.name} {version}")
        else:
            yield Finding(
                wanted.name, "warn", f"{version} is outside the tested {wanted.specifier}", fix
            )
    if fitting:
        yield Finding("Libraries", "ok", ", ".join(fitting))


def login_manager(
    places: tuple[str, ...] = ("/usr/lib/systemd", "/etc/systemd", "/run/systemd"),
    lingering: Path = Path("/var/lib/systemd/linger"),
) -> Finding:
    """Whether logging out would kill a detached run (KillUserProcesses of systemd-logind)."""
    kills = False
    for place in map(Path, places):
        for path in (place / "logind.conf", *sorted(place.glob("logind.conf.d/*.conf"))):
            kills = _kills(path, kills)
    if not kills:
        return Finding("Log-out", "ok", "detached runs go on after you log out")
    if (lingering / getpass.getuser()).exists():
        return Finding("Log-out", "ok", "KillUserProcesses is on, but you linger: runs go on")
    return Finding(
        "Log-out",
        "warn",
        "KillUserProcesses is on: logging out would kill detached runs",
        "loginctl enable-linger, then start finetui with: systemd-run --user --scope finetui",
    )


def hub() -> Finding:
    """Whether the model hub answers, and whether a token is there (never which)."""
    from huggingface_hub import constants

    token = bool(os.environ.get("HF_TOKEN")) or Path(constants.HF_TOKEN_PATH).is_file()
    known = "a token is set" if token else "no token: gated models stay closed"
    if constants.HF_HUB_OFFLINE:
        return Finding("Hub", "ok", f"not asked: HF_HUB_OFFLINE is set; {known}")
    address = constants.ENDPOINT
    if not address.startswith(("http://", "https://")):
        return Finding("Hub", "fail", f"HF_ENDPOINT is {address!r}", "give it as https://...")
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - checked above
    try:
        urllib.request.urlopen(request, timeout=_HUB_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        pass  # it answered, which is what was asked
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Finding(
            "Hub",
            "warn",
            f"{address} does not answer ({reason}); {known}",
            "local model folders work without it; set HF_ENDPOINT to a mirror for hub models",
        )
    return Finding("Hub", "ok", f"{address} answers; {known}")


def torch_findings(found: Listing) -> Iterator[Finding]:
    """Torch, and bitsandbytes really quantizing, on the device that a run would take."""
    try:
        chosen = pick("auto", found)
    except InputError as error:  # pragma: no cover - auto always finds something
        chosen = Chosen(None, "CPU", error.message)
    answer, problem = ask_torch(chosen)
    if problem:
        yield Finding("torch", "fail", problem, "reinstall the tested versions")
        return
    yield _torch(answer, chosen)
    yield _quantization(answer)


def ask_torch(chosen: Chosen) -> tuple[dict[str, Any], str]:
    """What a fresh process finds out with torch on this device; or why it could not."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _QUESTION],
            env=os.environ | environment(chosen),
            capture_output=True,
            text=True,
            timeout=_TORCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}, f"torch did not answer within {_TORCH_SECONDS} seconds"
    lines = done.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1]), ""
    except (IndexError, ValueError):
        words = done.stderr.strip().splitlines()
        return {}, words[-1] if words else f"torch ended with code {done.returncode}"


def _torch(answer: dict[str, Any], chosen: Chosen) -> Finding:
    build = f"CUDA {answer['cuda']}" if answer["cuda"] else "CPU only"
    text = f"{answer['torch']} ({build}), computes on {answer['device']}"
    if chosen.uuid and answer["device"] == "cpu":
        return Finding(
            "torch",
            "fail",
            f"{text}, though there is a {chosen.name}",
            "install the torch build for the driver's CUDA version"
            if not answer["cuda"]
            else "the driver may be too old for this torch: update it",
        )
    return Finding("torch", "ok", text)


def _quantization(answer: dict[str, Any]) -> Finding:
    error = answer.get("nf4_error")
    if error is None:
        return Finding(
            "NF4",
            "fail",
            f"bitsandbytes cannot quantize here: {answer.get('nf4_problem')}",
            "reinstall bitsandbytes, or train with quantization.load_in_4bit false",
        )
    text = f"bitsandbytes quantizes on {answer['device']}: mean relative error {error:.3f}"
    if not error < _NF4_ERROR_LIMIT:
        return Finding(
            "NF4", "fail", f"{text}, which is too much", "install the tested bitsandbytes"
        )
    return Finding("NF4", "ok", text)


def _kills(path: Path, before: bool) -> bool:
    """KillUserProcesses in one logind file; what stood before where the file does not say."""
    parser = ConfigParser(strict=False, interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
        return parser.getboolean("Login", "KillUserProcesses", fallback=before)
    except (ConfigError, OSError, ValueError):
        return before  # systemd passes over such a file too


_QUESTION = """
import json, torch
answer = {"torch": torch.__version__, "cuda": torch.version.cuda}
device = "cuda" if torch.cuda.is_available() else "cpu"
answer["device"] = device
try:
    import bitsandbytes.functional as F
    torch.manual_seed(0)
    weight = torch.randn(256, 256, device=device, dtype=torch.float32)
    packed, state = F.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    back = F.dequantize_4bit(packed, state)
    answer["nf4_error"] = ((back - weight).abs().mean() / weight.abs().mean()).item()
    assert packed.numel() * 2 == weight.numel()
except Exception as error:
    answer["nf4_error"] = None
    answer["nf4_problem"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(answer))
"""
