"""The worker: the process around an engine, or a second thread beside it.

While the engine's thread computes, this one answers commands, beats the heart, samples the GPU and
watches for a standstill, so that all of that goes on during long steps.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from core.config import files
from core.config.schema import RunConfig
from core.monitor.devices import Chosen
from core.monitor.gpu import Sampler, to_event
from core.record.commands import CommandTail
from core.record.events import CommandAnswered, WorkerStarted
from core.record.folder import RunFolder
from core.record.journal import Journal
from core.run.engine import Engine

FAILED_EXIT = 10
"""Exit code of a worker whose job failed in a way that is told in the journal."""

_TICK_SECONDS = 0.2
_SAMPLE_SECONDS = 1.0
_STANDSTILL_SECONDS = 600.0


class Worker:
    """Runs one job of one attempt to its end, and serves it meanwhile."""

    def __init__(
        self, folder: RunFolder, config: RunConfig, attempt: int, engine_host: str, device: Chosen
    ):
        self._folder = folder
        self._journal = Journal(folder.events, attempt=attempt)
        self._attempt = attempt
        self._engine_host = engine_host
        self._commands = CommandTail(folder.commands)
        self._device = device
        self._sampler = Sampler([device.uuid] if device.uuid else [])
        if device.uuid is None:
            self._sampler.why = device.why
        self.engine = Engine(folder, config, self._journal)

    def run(self, job: str, params: Mapping[str, str]) -> int:
        """Run the job; returns the exit code: 0 done or stopped, FAILED_EXIT failed."""
        self._journal.append(
            WorkerStarted(
                pid=os.getpid(),
                engine_host=self._engine_host,
                device=self._device.name,
                device_uuid=self._device.uuid or "",
            )
        )
        self.engine.start(job, params)
        try:
            self._serve()
        finally:
            self._journal.close()
            self._sampler.close()
        return FAILED_EXIT if self.engine.outcome == "failed" else 0

    def _serve(self) -> None:
        next_sample = time.monotonic()
        standstill = _Standstill()
        while not self.engine.ended.wait(_TICK_SECONDS):
            self._answer_commands()
            if time.monotonic() < next_sample:
                continue
            next_sample = time.monotonic() + _SAMPLE_SECONDS
            self._folder.heartbeat.touch(mode=0o600)
            self._sample()
            if not self.engine.control.paused and (note := standstill.look(self.engine.step)):
                self.engine.log(note, "warning")
        self._answer_commands()

    def _sample(self) -> None:
        gpus = self._sampler.sample()
        for reading in gpus:
            self._journal.append(to_event(reading, self.engine.step))
        if not gpus:
            self._journal.append(to_event(self._sampler.process_reading(), self.engine.step))

    def _answer_commands(self) -> None:
        for command in self._commands.poll():
            if command.attempt < self._attempt:
                continue  # meant for an attempt that is gone
            over = self.engine.ended.is_set()
            if not over:
                self.engine.control.take(command.name)
            self._journal.append(
                CommandAnswered(
                    command_id=command.id,
                    command=command.name,
                    accepted=not over,
                    reason="the job has ended" if over else "",
                )
            )


class _Standstill:
    """Notices that no step was finished for a long time, and says so once a standstill."""

    def __init__(self) -> None:
        self._step = -1
        self._since = time.monotonic()
        self._told = False

    def look(self, step: int) -> str:
        if step != self._step:
            self._step, self._since, self._told = step, time.monotonic(), False
            return ""
        waited = time.monotonic() - self._since
        if step == 0 or self._told or waited < _STANDSTILL_SECONDS:
            return ""
        self._told = True
        return f"no step was finished for {waited / 60:.0f} minutes (the last was {step})"


def main(argv: list[str] | None = None) -> int:
    """``python -P -m core.run.worker RUN ATTEMPT JOB PARAMS DEVICE``; started by the host only."""
    path, attempt, job, params, device = argv if argv is not None else sys.argv[1:]
    _die_with_parent()
    faulthandler.enable()
    folder = RunFolder(Path(path))
    config = files.load(folder.config).config
    worker = Worker(folder, config, int(attempt), "process", Chosen(**json.loads(device)))

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        worker.engine.control.take("StopAndSave", f"the system asked ({name})")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    code = worker.run(job, json.loads(params))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written and synced. Leaving through the interpreter's shutdown could hang in
    # library threads that hold the GPU.
    os._exit(code)


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its host dies, so that no run is left without a lock."""
    pr_set_pdeathsig = 1
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(pr_set_pdeathsig, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() == 1:
        sys.exit("the host ended before its worker started")


if __name__ == "__main__":
    sys.exit(main())
