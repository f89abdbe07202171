"""The host: keeps a worker alive without anybody watching. Session leader, without torch.

It holds the run's lock, starts the worker as its child, and starts a crashed training again from
its last verified checkpoint. It writes the journal only while no worker does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from core.config import files
from core.config.counted import counted
from core.config.errors import FinetuiError
from core.config.schema import RunConfig
from core.monitor import devices
from core.monitor.remedies import explain_exit
from core.record.commands import CommandTail
from core.record.events import (
    CommandAnswered,
    Event,
    HostStarted,
    JobFailed,
    JobStopped,
    LineLogged,
    WorkerExited,
)
from core.record.folder import RunFolder, open_private
from core.record.journal import Journal, last_attempt, last_line, read
from core.record.lock import RunLock
from core.run.worker import FAILED_EXIT

BACK_OFF_SECONDS = (2.0, 10.0, 30.0)
_POLL_SECONDS = 0.2
_LAST_CHARS = 4000
"""Of a worker's log, where the reason of its end is looked for."""


@dataclass(frozen=True)
class Exit:
    """How a worker ended without having told so itself."""

    pid: int
    code: int
    """Negative: the signal that ended it."""
    reason: str

    @property
    def by_signal(self) -> bool:
        return self.code < 0


class Host:
    """Runs one job of one run to its end, through as many attempts as that takes and allows."""

    def __init__(self, folder: RunFolder, job: str, params: Mapping[str, str]):
        self._folder = folder
        self._job = job
        self._params = dict(params)
        self._config: RunConfig = files.load(folder.config).config
        self._child: subprocess.Popen[bytes] | None = None
        self._asked_to_stop = False
        # Everything from here on belongs to the coming attempt, so that a command sent before its
        # worker is up is meant for it.
        self._number = last_attempt(folder.events) + 1

    def run(self) -> int:
        """Returns 0 when the job finished or was stopped, 1 when it failed."""
        lock = RunLock(self._folder.lock)
        try:
            self._write(HostStarted(pid=os.getpid(), job=self._job))
            return self._attempts()
        except FinetuiError as error:
            self._write(
                JobFailed(
                    job=self._job,
                    kind=error.kind,
                    message=error.message,
                    remedies=error.remedies,
                    exit_code=error.exit_code,
                )
            )
            return 1
        finally:
            lock.release()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Pass a request to end on to the worker, which saves first."""
        self._asked_to_stop = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    def _attempts(self) -> int:
        restarts = 0
        while True:
            exit_ = self._attempt()
            if exit_ is None:
                return 0 if self._told_end() != "JobFailed" else 1
            again = (
                self._job == "train"
                and exit_.by_signal
                and restarts < self._config.run.max_restarts
                and not self._asked_to_stop
            )
            delay = BACK_OFF_SECONDS[min(restarts, len(BACK_OFF_SECONDS) - 1)] if again else 0.0
            self._write(
                WorkerExited(
                    pid=exit_.pid, reason=exit_.reason, will_restart=again, delay_seconds=delay
                )
            )
            if not again:
                self._write(self._given_up(exit_, restarts))
                return 1
            restarts += 1
            if not self._wait(delay):
                self._write(JobStopped(job=self._job, step=0, reason="stopped before the restart"))
                return 0
            self._number += 1

    def _attempt(self) -> Exit | None:
        """Run one worker to its end; None when it told its end in the journal itself."""
        chosen = devices.pick(self._config.run.devices)
        self._write(LineLogged(level="info", text=f"device: {chosen.name} ({chosen.why})"))
        ooms_before = _oom_kills()
        log = open_private(self._folder.worker_log)
        try:
            self._child = subprocess.Popen(
                [
                    sys.executable, "-P", "-m", "core.run.worker", str(self._folder.path),
                    str(self._number), self._job, json.dumps(self._params),
                    json.dumps(asdict(chosen)),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=os.environ | devices.environment(chosen),
            )  # fmt: skip
        finally:
            os.close(log)
        code = self._child.wait()
        if code in (0, FAILED_EXIT):
            return None
        reason = _reason(code, self._folder.worker_log, _oom_kills() > ooms_before)
        return Exit(self._child.pid, code, reason)

    def _told_end(self) -> str:
        line = last_line(self._folder.events)
        return str(line["type"]) if line else ""

    def _given_up(self, exit_: Exit, restarts: int) -> JobFailed:
        tried = f", also after {counted(restarts, 'restart')}" if restarts else ""
        log = self._folder.worker_log
        told = explain_exit(exit_.code, _last_words(log))
        saved = "what was saved is safe: resume the run" if self._job == "train" else ""
        return JobFailed(
            job=self._job,
            kind=told.kind,
            message=f"the worker died{tried}: {exit_.reason}. {told.message}",
            remedies=tuple(filter(None, (*told.remedies, saved, f"read {log}"))),
        )

    def _wait(self, seconds: float) -> bool:
        """Sleep before a restart; False when somebody asked to stop meanwhile."""
        commands = CommandTail(self._folder.commands)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for command in commands.poll():
                if command.attempt >= self._number and command.name in ("StopAndSave", "Abort"):
                    if command.id in self._answered():
                        continue
                    self._write(
                        CommandAnswered(command_id=command.id, command=command.name, accepted=True)
                    )
                    return False
            if self._asked_to_stop:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _answered(self) -> set[str]:
        events = (record.event for record in read(self._folder.events))
        return {event.command_id for event in events if isinstance(event, CommandAnswered)}

    def _write(self, event: Event) -> None:
        journal = Journal(self._folder.events, attempt=self._number)
        journal.append(event)
        journal.close()


def main(argv: list[str] | None = None) -> int:
    """``python -P -m core.run.host RUN JOB [PARAMS]``; started by a Link."""
    path, job, *rest = argv if argv is not None else sys.argv[1:]
    try:
        host = Host(RunFolder(Path(path)), job, json.loads(rest[0]) if rest else {})
        signal.signal(signal.SIGTERM, host.stop)
        signal.signal(signal.SIGINT, host.stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return host.run()
    except FinetuiError as error:
        print(error.message, file=sys.stderr)
        return error.exit_code


def _reason(code: int, log: Path, oom: bool) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        if oom:
            return f"{name}: the machine ran out of memory (RAM) and the kernel ended it"
        return f"it was ended by {name}"
    lines = _last_words(log).splitlines()
    return f"exit code {code}: {lines[-1][:300] if lines else 'it printed nothing'}"


def _last_words(log: Path) -> str:
    """What a worker printed last."""
    return log.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_CHARS:]


def _oom_kills() -> int:
    """How often the kernel ended a process of this container or machine for want of RAM."""
    for path, separator in (("/sys/fs/cgroup/memory.events", " "), ("/proc/vmstat", " ")):
        try:
            text = Path(path).read_text(encoding="ascii")
        except OSError:
            continue
        for line in text.splitlines():
            key, _, value = line.partition(separator)
            if key == "oom_kill":
                return int(value)
    return 0


if __name__ == "__main__":
    sys.exit(main())
