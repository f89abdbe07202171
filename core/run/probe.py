"""Has the longest batch of a training tried, in a process of its own, and tells what it took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core.config import files
from core.config.errors import FailedError, FinetuiError, InputError, RefusedError
from core.config.schema import RunConfig
from core.monitor import devices

_LEFT_TO_TRY = ("lower data.max_length or train.per_device_train_batch_size, then try again",)

Figures = dict[str, Any]
"""The fields of ``core.train.probe.Probed``."""


def probe(config: RunConfig) -> Figures:
    """Measure a training with these settings on the device that it would take.

    Takes as long as loading the model and a few steps. Raises FinetuiError when it does not run,
    such as for want of memory.
    """
    chosen = devices.pick(config.run.devices)
    with tempfile.TemporaryDirectory(prefix="finetui-probe-") as place:
        folder = Path(place)
        settings, answer, log = folder / "run.toml", folder / "answer.json", folder / "log"
        settings.write_text(files.dump(config), encoding="utf-8")
        with log.open("wb") as file:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "core.train.probe", settings, folder, answer],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                env=os.environ | devices.environment(chosen), check=False,
            )  # fmt: skip
        if not answer.is_file():
            raise _died(done.returncode, log.read_text(encoding="utf-8", errors="replace"))
        found: Figures = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in found:
        raise _error(**found["error"])
    return found


def _died(code: int, said: str) -> FinetuiError:
    """The process ended without an answer."""
    if code == -signal.SIGKILL:
        return FailedError(
            "the probe was killed from outside, most likely because memory (RAM) was full",
            kind="out_of_host_memory",
            remedies=_LEFT_TO_TRY,
        )
    lines = said.strip().splitlines()
    what = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    last = f": {lines[-1][:300]}" if lines else ""
    return FailedError(f"the probe ended with {what}{last}", kind="crashed", remedies=_LEFT_TO_TRY)


def _error(message: str, kind: str, remedies: list[str], exit_code: int) -> FinetuiError:
    if kind == "unexpected":
        # Their place to look is a run's folder, and there is none.
        remedies = ["start the training itself: its worker.log holds the whole story"]
    kinds: dict[int, type[FinetuiError]] = {2: InputError, 3: RefusedError}
    return kinds.get(exit_code, FailedError)(message, kind=kind, remedies=tuple(remedies))
