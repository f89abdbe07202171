"""Checkpoints that are there entirely or not at all.

A save is written into a staging folder, every file is forced to disk, ``MANIFEST.json`` (sizes and
sha256 of all of them) comes last, and one rename makes it ``checkpoint-N``. Whoever reads one
checks it against its manifest first. Nothing here depends on file times, and nothing that is not
ours is ever deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "MANIFEST.json"
STATE = "finetui_state.json"
"""Our own part of a checkpoint: what the run has counted so far."""
ADAPTER_WEIGHTS = "adapter_model.safetensors"
REQUIRED = (
    ADAPTER_WEIGHTS, "adapter_config.json", "optimizer.pt", "scheduler.pt", "rng_state.pth",
    "trainer_state.json", STATE,
)  # fmt: skip
"""Without any one of these a resume would be another run."""
NOT_FOR_ADAPTERS = frozenset(
    {MANIFEST, "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "trainer_state.json",
     STATE}
)  # fmt: skip
"""What only a resume needs; the rest of a checkpoint is the adapter in PEFT's format."""

_NAME = re.compile(r"checkpoint-([1-9][0-9]{0,14})")
_LEFTOVER = re.compile(r"\.(staging|trash)-[0-9]+-[0-9]+")


@dataclass(frozen=True)
class Chosen:
    """The checkpoint to go on from, if any, and the newer ones that were passed over."""

    path: Path | None
    step: int
    rejected: tuple[tuple[str, str], ...]
    """(name, reason), the newest first."""


def step_of(path: Path) -> int | None:
    """The step of a folder named as ours are; None for everything else, links and files too."""
    match = _NAME.fullmatch(path.name)
    if match is None or path.is_symlink() or not path.is_dir():
        return None
    return int(match.group(1))


def candidates(run: Path) -> list[tuple[int, Path]]:
    """The folders of a run that are named like checkpoints, with their steps, newest first."""
    found = [(step, path) for path in run.iterdir() if (step := step_of(path)) is not None]
    return sorted(found, reverse=True)


def newest_verified(run: Path) -> Chosen:
    """The checkpoint with the highest step that verifies."""
    rejected: list[tuple[str, str]] = []
    for step, path in candidates(run):
        reason = verify(path)
        if reason is None:
            return Chosen(path, step, tuple(rejected))
        rejected.append((path.name, reason))
    return Chosen(None, 0, tuple(rejected))


def verify(path: Path) -> str | None:
    """None when every byte of a checkpoint is as it was saved, else the reason to reject it.

    Files that are not in the manifest, such as a user's notes, do not matter.
    """
    try:
        manifest = read_manifest(path)
    except ValueError as error:
        return str(error)
    if manifest["step"] != step_of(path):
        return f"{MANIFEST} is of step {manifest['step']}"
    absent = [name for name in REQUIRED if name not in manifest["files"]]
    if absent:
        return f"{absent[0]} was never saved"
    for name, expected in manifest["files"].items():
        reason = _compare(path / name, expected["bytes"], expected["sha256"])
        if reason is not None:
            return reason
    return None


def _compare(file: Path, size_bytes: int, sha256: str) -> str | None:
    try:
        size = file.stat(follow_symlinks=False).st_size
        if size != size_bytes:
            return f"{file.name} has {size} bytes instead of {size_bytes}"
        if sha256_of(file) != sha256:
            return f"{file.name} is damaged: its sha256 is not the manifest's"
    except FileNotFoundError:
        return f"{file.name} is missing"
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror}"
    return None


def holds_state(path: Path) -> bool:
    """Whether a folder has anything of a checkpoint in it, so that training was once there."""
    return any((path / name).exists() for name in (MANIFEST, *REQUIRED))


def read_manifest(path: Path) -> dict[str, Any]:
    """``{"step": int, "files": {name: {"bytes", "sha256"}}}`` of a checkpoint.

    Raises ValueError, with the reason, unless the manifest is bit for bit what ``seal`` wrote.
    """
    try:
        text = (path / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{MANIFEST} is missing: the save was never finished") from None
    except OSError as error:
        raise ValueError(f"{MANIFEST} cannot be read: {error.strerror}") from error
    try:
        body = json.loads(text)["manifest"]
        intact = _encode_manifest(body) == text
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise ValueError(f"{MANIFEST} is damaged")
    return dict(body)


def seal(folder: Path, step: int) -> int:
    """Force a folder's files to disk, then its manifest, then the folder; returns the bytes.

    The last act on a staging folder before its rename. Files become private (0600).
    """
    files: dict[str, dict[str, int | str]] = {}
    for file in sorted(folder.iterdir()):
        file.chmod(0o600)
        sync(file)
        files[file.name] = {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
    manifest = folder / MANIFEST
    manifest.write_bytes(_encode_manifest({"step": step, "files": files}))
    manifest.chmod(0o600)
    sync(manifest)
    sync(folder)
    return sum(int(entry["bytes"]) for entry in files.values())


def _encode_manifest(body: dict[str, Any]) -> bytes:
    plain = json.dumps(body, sort_keys=True)
    whole = {"manifest": body, "sha256": hashlib.sha256(plain.encode()).hexdigest()}
    return json.dumps(whole, sort_keys=True, indent=1).encode() + b"\n"


def staging(run: Path, step: int) -> Path:
    """A fresh folder to write a save into; ``sweep`` removes it when it is left behind."""
    folder = run / f".staging-{step}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def commit(sealed: Path, final: Path) -> None:
    """Give a sealed folder its final name, on disk for good when this returns.

    An older save of the same name makes room; what was not ours under that name is only moved.
    """
    run = final.parent
    if final.is_symlink() or final.exists():
        if _is_ours(final):
            discard(final)
        else:
            final.rename(_free(final))
    sealed.rename(final)
    sync(run)


def discard(path: Path) -> None:
    """Remove a folder of ours so that a kill half-way leaves nothing that looks like a save."""
    trash = path.parent / f".trash-{step_of(path) or 0}-{os.getpid()}"
    shutil.rmtree(trash, ignore_errors=True)
    path.rename(trash)
    shutil.rmtree(trash)


def _is_ours(path: Path) -> bool:
    return step_of(path) is not None and (path / MANIFEST).is_file()


def _free(path: Path) -> Path:
    names = (path.with_name(f"{path.name}-not-ours-{n}") for n in range(1, 1_000_000))
    return next(name for name in names if not name.exists())


def keep(steps: Collection[int], best: int | None, limit: int) -> set[int]:
    """Which checkpoints stay: the newest ``limit`` of them, and the best."""
    kept = set(sorted(steps, reverse=True)[: max(1, limit)])
    return kept | {step for step in steps if step == best}


def retain(run: Path, newest: int, best: int | None, limit: int) -> list[str]:
    """Remove the checkpoints that need not be kept, and return their names.

    ``newest`` is the step that was just committed: folders of higher steps were rejected or belong
    to somebody else, and neither count nor go.
    """
    ours = {step: path for step, path in candidates(run) if step <= newest and _is_ours(path)}
    gone = sorted(set(ours) - keep(ours, best, limit))
    for step in gone:
        discard(ours[step])
    return [ours[step].name for step in gone]


def sweep(run: Path) -> list[str]:
    """Remove what interrupted saves left behind. Only for the holder of the run's lock."""
    left = [path for path in run.iterdir() if _LEFTOVER.fullmatch(path.name)]
    for path in left:
        shutil.rmtree(path)
    return [path.name for path in left]


def publish_adapter(checkpoint: Path, adapter: Path) -> str:
    """Make ``adapter`` the adapter of a verified checkpoint, in PEFT's format, all or nothing.

    Returns the sha256 of its weights. An adapter that is equal already is left alone.
    """
    wanted = {file.name: file for file in _adapter_files(checkpoint)}
    if _same(wanted, adapter):
        return sha256_of(adapter / ADAPTER_WEIGHTS)
    folder = staging(adapter.parent, 0)
    for name, file in wanted.items():
        shutil.copyfile(file, folder / name)
        sync(folder / name)
    sync(folder)
    if adapter.exists():
        discard(adapter)
    folder.rename(adapter)
    sync(adapter.parent)
    return sha256_of(adapter / ADAPTER_WEIGHTS)


def _adapter_files(checkpoint: Path) -> Iterator[Path]:
    for name in read_manifest(checkpoint)["files"]:
        if name not in NOT_FOR_ADAPTERS:
            yield checkpoint / name


def _same(wanted: dict[str, Path], adapter: Path) -> bool:
    return all(
        (adapter / name).is_file() and sha256_of(adapter / name) == sha256_of(file)
        for name, file in wanted.items()
    )


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
