"""What a run was started with, so that a resume is of the same run or is refused.

Data, base weights and the settings that shape the result must be equal. Versions, device and
thread count may differ; the resume is then state-exact (tier S) instead of bit-exact (tier E).
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.config.errors import RefusedError
from core.config.hub import model_file
from core.config.schema import RunConfig
from core.model import liger
from core.record.folder import RunFolder, write_private
from core.train.checkpoint import sha256_of

Fingerprint = dict[str, dict[str, Any]]
"""``base``, ``data``, ``config``, ``free`` and ``environment``, each a flat table."""

_WHOLE_BYTES = 2 << 30
"""Weights up to this size are hashed whole; a hash of more would delay every start by minutes."""
_SAMPLE_BYTES, _STRIDE_BYTES = 1 << 20, 64 << 20
_PACKAGES = (
    "finetui", "torch", "triton", "transformers", "trl", "peft", "accelerate", "bitsandbytes",
    "datasets",
)  # fmt: skip
"""Whose code rounds: kernels of the fused path are finetui's own, compiled by Triton."""
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip
# Where a model lies does not matter as long as its weights are the same.
_FREE = frozenset(
    {"model.name_or_path", "model.revision", "train.logging_steps", "train.save_steps",
     "train.save_total_limit", "evaluate.per_device_eval_batch_size", "evaluate.compare_rows",
     "evaluate.max_new_tokens"}
)  # fmt: skip


_LATER = {"train.fp8": False}
"""Settings that came later, with what runs from before them did."""


@dataclass(frozen=True)
class Difference:
    """One entry that is not as it was."""

    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.name} was {_short(self.old)}, is now {_short(self.new)}"


def take(config: RunConfig, data_sha256: str, device: str) -> Fingerprint:
    """The fingerprint of a training as it would run here and now."""
    flat = {
        f"{section}.{name}": value
        for section, values in config.model_dump(mode="json").items()
        if section != "run"
        for name, value in values.items()
    }
    return {
        "base": base_of(config.model.name_or_path, config.model.revision),
        "data": {"sha256": data_sha256},
        "config": {name: value for name, value in flat.items() if name not in _FREE},
        "free": {name: value for name, value in flat.items() if name in _FREE},
        "environment": environment(device),
    }


def base_of(name: str, revision: str | None) -> dict[str, str]:
    """Hashes of a model's weights, configuration and tokenizer."""
    index = model_file(name, "model.safetensors.index.json", revision)
    shards = ["model.safetensors"]
    if index is not None:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    weights = _hash_weights(_present(name, shards, revision))
    small = {
        file: sha256_of(path)
        for file in ("config.json", *_TOKENIZER_FILES)
        if (path := model_file(name, file, revision)) is not None
    }
    return weights | small


def _present(name: str, files: Iterable[str], revision: str | None) -> list[Path]:
    found = (model_file(name, file, revision) for file in files)
    return [path for path in found if path is not None]


def _hash_weights(files: list[Path]) -> dict[str, str]:
    """Of all bytes, or of a sample of them when there are many; the label says which."""
    whole = sum(file.stat().st_size for file in files) <= _WHOLE_BYTES
    digest = hashlib.sha256()
    for file in files:
        digest.update(sha256_of(file).encode() if whole else sample_of(file))
    return {"weights (all bytes)" if whole else "weights (sampled)": digest.hexdigest()}


def sample_of(file: Path) -> bytes:
    """Digest of a file's size and of the first MiB of every 64, the header among them."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as source:
        for offset in range(0, size, _STRIDE_BYTES):
            source.seek(offset)
            digest.update(source.read(_SAMPLE_BYTES))
    return digest.digest()


def environment(device: str) -> dict[str, str]:
    """What may change the last bits of a result without changing its meaning."""
    import torch

    facts = {package: _version(package) for package in _PACKAGES}
    facts |= {
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "device": platform.processor() or platform.machine(),
    }
    if device != "cpu":
        major, minor = torch.cuda.get_device_capability(device)
        if (found := liger.installed()) is not None:
            facts["liger-kernel"] = found
        facts |= {
            "device": torch.cuda.get_device_name(device),
            "capability": f"{major}.{minor}",
            "cuda": str(torch.version.cuda),
        }
    else:
        facts["capability"] = torch.backends.cpu.get_cpu_capability()
    return facts


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def load(folder: RunFolder) -> Fingerprint | None:
    """The fingerprint of a run's first start; None when it was never started.

    Raises RefusedError for one that cannot be read: nothing could be compared with it.
    """
    try:
        values = json.loads(folder.fingerprint.read_text(encoding="utf-8"))
        return {part: dict(values[part]) for part in _PARTS}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(
            f"{folder.fingerprint} cannot be read, so nothing says what this run was started with",
            kind="bad_fingerprint",
            remedies=("restore the file from a backup, or start a new run",),
        ) from error


_PARTS = ("base", "data", "config", "free", "environment")


def save(folder: RunFolder, fingerprint: Fingerprint) -> None:
    """Write it into the run folder, once."""
    write_private(
        folder.fingerprint, json.dumps({"schema": 1} | fingerprint, indent=1, sort_keys=True) + "\n"
    )


def check(old: Fingerprint, new: Fingerprint) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compare a run's fingerprint with the present one.

    Returns (why a resume would not be bit-exact, which free settings changed), both as sentences.
    Raises RefusedError (kind ``changed``) when it would be a resume of something else.
    """
    wrong = [
        difference
        for part, title in (("base", "base model: "), ("data", "data: "), ("config", ""))
        for difference in differences(_whole(part, old), new[part], title)
    ]
    if wrong:
        raise RefusedError(
            "this would not be the run that was started: " + "; ".join(map(str, wrong)),
            kind="changed",
            remedies=(
                "put the old values back, then resume",
                "or start a new run with the new ones",
            ),
        )
    reasons = differences(old["environment"], new["environment"])
    changes = differences(old["free"], new["free"])
    return tuple(map(str, reasons)), tuple(map(str, changes))


def _whole(part: str, old: Fingerprint) -> dict[str, Any]:
    """A part of a run's fingerprint, with the settings that did not exist at its start."""
    return (_LATER if part == "config" else {}) | old[part]


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], title: str = ""
) -> list[Difference]:
    """Entries that differ, or that only one side has (a newer version has more settings)."""
    names = sorted(set(old) | set(new))
    return [
        Difference(title + name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    ]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:12] + "…"
