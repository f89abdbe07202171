"""Watching one job of a run from the command line, as text or as JSON lines, to its end."""

from __future__ import annotations

import time
from typing import Literal

from core.config.errors import FailedError
from core.record import events as ev
from core.record.commands import Name
from core.record.folder import RunFolder, preparing
from core.record.journal import last_line
from core.record.lock import holder
from core.record.state import SHAPING, RunState
from core.run.link import Link
from tui.cli.output import Output, Style
from tui.sentences import sentence

INTERRUPTED = 130

End = ev.JobFinished | ev.JobStopped | ev.JobFailed
Mode = Literal["text", "lines", "notes"]
"""Sentences on stdout, every record as JSON on stdout, or sentences on stderr."""

_POLL_SECONDS = 0.1
_PROGRESS_SECONDS = 5.0
_LOST_SECONDS = 2.0
_RELEASE_SECONDS = 15.0
_STYLES: dict[str, Style] = {"error": "red", "warning": "yellow"}


def newest(folder: RunFolder) -> int:
    """The newest sequence number of a run's journal: what comes after it is news."""
    line = last_line(folder.events)
    return int(line["seq"]) if line else 0


class Watch:
    """Prints what a job does until it ends, and passes Ctrl-C on as a request to the job."""

    def __init__(
        self,
        link: Link,
        out: Output,
        mode: Mode,
        *,
        after: int = 0,
        on_interrupt: Name | None = "StopAndSave",
    ):
        """Events up to sequence number ``after`` are history: taken in, but not printed.

        ``on_interrupt`` is what the first Ctrl-C asks of the job; None: a watcher just leaves.
        """
        self.folder = link.folder
        self.state = RunState()
        self.interrupted = False
        self.seen: list[ev.Event] = []
        """The job's results: answers, the merge, the comparison."""
        self._link = link
        self._out = out
        self._mode = mode
        self._after = after
        self._on_interrupt = on_interrupt
        self._progress = 0.0
        self._lost_since: float | None = None

    def to_end(self) -> End | None:
        """Follow until the job ends; None when Ctrl-C left it running.

        Raises FailedError when the run's processes vanish without a word.
        """
        self._link.follow()
        try:
            while True:
                try:
                    end = self._turn()
                    if end is not None:
                        self._wait_for_release()
                        return end
                except KeyboardInterrupt:
                    if self.interrupted or self._on_interrupt is None:
                        return None
                    self._interrupt(self._on_interrupt)
        finally:
            self._link.close()

    def _turn(self) -> End | None:
        records = self._link.drain()
        for record in records:
            self.state.apply(record)
            if record.seq <= self._after:
                continue
            self._show(record)
            if isinstance(record.event, End):
                return record.event
        if not records:
            self._look_for_loss()
            time.sleep(_POLL_SECONDS)
        return None

    def _interrupt(self, request: Name) -> None:
        self.interrupted = True
        self._link.send(request)
        ends = self.state.engine_host == "thread"
        leave = "ends it without saving" if ends else "leaves it running"
        what = "saving and stopping" if request == "StopAndSave" else "stopping"
        self._out.note(f"{what} ... (Ctrl-C again {leave})", "yellow")

    def _show(self, record: ev.Record) -> None:
        event = record.event
        if isinstance(event, (ev.SampleGenerated, ev.Merged, ev.AnswersCompared)):
            self.seen.append(event)
        if self._mode == "lines":
            self._out.line(record.as_dict())
            return
        if isinstance(event, ev.JobFailed):
            return  # told at the end, with what to do
        told = self._told(event)
        if told is not None:
            clock = time.strftime("%H:%M:%S", time.localtime(record.time))
            tell = self._out.say if self._mode == "text" else self._out.note
            tell(f"{clock}  {told[1]}", _STYLES.get(told[0]))

    def _told(self, event: ev.Event) -> tuple[str, str] | None:
        if not isinstance(event, ev.Progressed):
            return sentence(event)
        now = time.monotonic()
        if now - self._progress < _PROGRESS_SECONDS:
            return None
        self._progress = now
        of = f" of {event.total:,}" if event.total else ""
        return "info", f"{self.state.stage}: {event.done:,}{of} {event.unit} {event.detail}".strip()

    def _look_for_loss(self) -> None:
        """The journal names no end, yet nobody holds the run: its processes were killed."""
        # The last lines may still be on their way to us when the lock is let go.
        if self._link.status(self.state) != "interrupted" or not self._link.caught_up:
            self._lost_since = None
            return
        self._lost_since = self._lost_since or time.monotonic()
        if time.monotonic() - self._lost_since > _LOST_SECONDS:
            raise FailedError(
                f"the processes of {self.folder.name} are gone",
                kind="lost",
                remedies=(
                    onward(self.folder, self.state),
                    f"read {self.folder.worker_log} and {self.folder.host_log}",
                ),
            )

    def _wait_for_release(self) -> None:
        """The lock goes a moment after the last event; the next command must find it free."""
        end = time.monotonic() + _RELEASE_SECONDS
        self._link.join(_RELEASE_SECONDS)
        while holder(self.folder.lock) is not None and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)


def onward(run: RunFolder, state: RunState) -> str:
    """What goes on with a run that stopped, in words."""
    if state.job == "prepare" and not run.data.exists():
        return f"nothing was frozen; prepare it anew: {preparing(run)}"
    whence = " from the last checkpoint" if state.checkpoints else ""
    return f"go on{whence}: finetui resume {run.name}"


def conclude(watch: Watch, end: End | None, out: Output) -> int:
    """Say how a job ended, and give the exit code for it."""
    name = watch.folder.name
    if end is None:
        left = "" if watch.state.engine_host == "thread" else f"; watch it: finetui attach {name}"
        out.note(f"left {name}{left}")
        return INTERRUPTED
    if isinstance(end, ev.JobFailed):
        error = FailedError(end.message, kind=end.kind, remedies=end.remedies)
        out.failure(error, on_stdout=False)
        out.note(f"  - the log is {watch.folder.worker_log}")
        return end.exit_code
    if isinstance(end, ev.JobStopped):
        if end.job in SHAPING:
            out.note(onward(watch.folder, watch.state))
        return INTERRUPTED if watch.interrupted else 0
    return 0
