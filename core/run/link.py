"""The link: what a screen or a command line holds on one run. Start, follow, ask; no torch.

Closing a link never ends a run that lives in a process of its own.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from core.config import files
from core.config.errors import FailedError, InputError, RefusedError
from core.config.hub import local_folder
from core.config.schema import RunConfig
from core.data.read.paths import absolute_name
from core.monitor import devices
from core.record import commands, folder
from core.record.events import HostStarted, Record
from core.record.folder import RunFolder
from core.record.journal import Journal, Tail, last_attempt
from core.record.lock import RunLock, holder
from core.record.state import RunState, status_of

_START_SECONDS = 20.0
_FOLLOW_SECONDS = 0.25
_BATCH_BYTES = 1 << 20


class Link:
    """A hold on one run folder: starts jobs on it, follows its journal, sends it commands."""

    def __init__(self, run: RunFolder):
        self.folder = run
        self._host: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._follower: _Follower | None = None

    @classmethod
    def start(cls, config: RunConfig, root: Path, job: str = "train") -> Link:
        """Make a run from a configuration and start its first job. Paths become absolute.

        A preparation that froze nothing is begun anew in its own run, with the same settings.
        Raises InputError or RefusedError before anything is started.
        """
        placed = _placed(config, root)
        again = job == "prepare"
        link = cls(folder.create(root, placed.run.name, files.dump(placed), again=again))
        link.launch(job)
        return link

    def launch(self, job: str, params: Mapping[str, str] | None = None) -> None:
        """Start a job on the run: train (which resumes), merge, generate or prepare.

        Raises RefusedError while another job runs on it, FailedError when the host does not come
        up.
        """
        if holder(self.folder.lock) is not None:
            raise RefusedError(
                f"{self.folder.name} is busy with another job",
                kind="run_locked",
                remedies=("wait for it, or stop it first",),
            )
        config = files.load(self.folder.config).config
        if config.run.engine_host == "thread":
            self._launch_thread(config, job, params or {})
        else:
            self._launch_host(job, params or {})

    def send(self, name: commands.Name) -> str:
        """Ask the running job for something; returns the command's id, answered in the journal."""
        command = commands.Command(name, attempt=last_attempt(self.folder.events))
        commands.send(self.folder.commands, command)
        return command.id

    def follow(self) -> None:
        """Begin to read the journal from its start, in a thread."""
        if self._follower is None:
            self._follower = _Follower(self.folder.events)

    def drain(self) -> list[Record]:
        """The records that came since the last call. Never blocks, loses nothing.

        The journal itself is the buffer: the follower reads a little ahead and then waits.
        """
        return self._follower.drain() if self._follower else []

    @property
    def caught_up(self) -> bool:
        """Whether everything that the journal held at the last look was drained."""
        return self._follower is not None and self._follower.caught_up

    def status(self, state: RunState) -> str:
        """The state's status, corrected where the run's processes are gone or stand still."""
        if self._host is not None:
            self._host.poll()  # reaps the host when it has ended
        return status_of(self.folder, state)

    def close(self) -> None:
        """Stop following. The run goes on."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def join(self, seconds: float) -> bool:
        """Wait for a job in this process (engine_host thread) to end; True when it has."""
        if self._thread is not None:
            self._thread.join(seconds)
            return not self._thread.is_alive()
        return True

    def _launch_host(self, job: str, params: Mapping[str, str]) -> None:
        seen = Tail(self.folder.events)
        while seen.poll():
            pass
        log = folder.open_private(self.folder.host_log)
        try:
            self._host = subprocess.Popen(
                [
                    sys.executable, "-P", "-m", "core.run.host",
                    str(self.folder.path), job, json.dumps(dict(params)),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env=os.environ | {"PYTHONSAFEPATH": "1"},
            )  # fmt: skip
        finally:
            os.close(log)
        self._wait_for_host(self._host, seen)

    def _wait_for_host(self, host: subprocess.Popen[bytes], seen: Tail) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if any(isinstance(record.event, HostStarted) for record in seen.poll()):
                return
            if host.poll() is not None:
                break
            time.sleep(0.02)
        text = self.folder.host_log.read_text(encoding="utf-8", errors="replace").strip()
        last = text.splitlines()[-1][:300] if text else "it printed nothing"
        raise FailedError(
            f"the run's host did not start: {last}",
            kind="no_host",
            remedies=(f"read {self.folder.host_log}",),
        )

    def _launch_thread(self, config: RunConfig, job: str, params: Mapping[str, str]) -> None:
        """Run the job inside this process: the one mode in which torch enters it."""
        from core.run.worker import Worker

        chosen = devices.pick(config.run.devices)
        os.environ.update(devices.environment(chosen))
        lock = RunLock(self.folder.lock)
        attempt = last_attempt(self.folder.events) + 1
        journal = Journal(self.folder.events, attempt=attempt)
        journal.append(HostStarted(pid=os.getpid(), job=job))
        journal.close()
        worker = Worker(self.folder, config, attempt, "thread", chosen)

        def work() -> None:
            try:
                worker.run(job, params)
            finally:
                lock.release()

        self._thread = threading.Thread(target=work, name="worker", daemon=True)
        self._thread.start()


class _Follower:
    """A thread that reads the journal in small batches, a few ahead of who drains them."""

    def __init__(self, path: Path):
        self._tail = Tail(path)
        self._batches: queue.Queue[list[Record]] = queue.Queue(maxsize=4)
        self._closed = threading.Event()
        self.caught_up = False
        threading.Thread(target=self._read, name="follower", daemon=True).start()

    def drain(self) -> list[Record]:
        records: list[Record] = []
        while True:
            try:
                records += self._batches.get_nowait()
            except queue.Empty:
                return records

    def close(self) -> None:
        self._closed.set()

    def _read(self) -> None:
        while not self._closed.is_set():
            batch = self._tail.poll(_BATCH_BYTES)
            self.caught_up = not batch and self._batches.empty()
            if not batch:
                self._closed.wait(_FOLLOW_SECONDS)
                continue
            while not self._closed.is_set():
                try:
                    self._batches.put(batch, timeout=_FOLLOW_SECONDS)
                    break
                except queue.Full:
                    continue


def _placed(config: RunConfig, root: Path) -> RunConfig:
    """The configuration with absolute paths and a name, so that it means the same anywhere."""
    placed = config.model_copy(deep=True)
    model = local_folder(placed.model.name_or_path)
    if model is not None:
        placed.model.name_or_path = str(model.absolute())
    if not placed.data.files:
        raise InputError(
            "no training data is named",
            kind="no_data",
            remedies=("set data.files to files, folders or a data set of the hub",),
        )
    for key in ("files", "eval_files"):
        setattr(placed.data, key, [absolute_name(name) for name in getattr(placed.data, key)])
    if placed.data.overlay:
        placed.data.overlay = str(Path(placed.data.overlay).expanduser().absolute())
    if not placed.run.name:
        stem = f"{Path(placed.model.name_or_path).name}-{Path(placed.data.files[0]).stem}"
        placed.run.name = folder.free_name(root, stem)
    return placed
