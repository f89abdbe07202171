"""What the libraries say goes to the run's log instead of to a terminal that is not theirs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from core.record.folder import append_private
from core.record.job import Job

_LOUD = ("transformers", "trl", "accelerate", "peft", "bitsandbytes", "datasets", "torch")


class _ToJob(logging.Handler):
    """Passes each distinct line on once: libraries repeat themselves at every step."""

    def __init__(self, job: Job):
        super().__init__(logging.WARNING)
        self._job = job
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage(), "error" if record.levelno >= logging.ERROR else "warning")

    def say(self, text: str, level: str = "warning") -> None:
        text = " ".join(text.split())
        if text not in self._seen and len(self._seen) < 10_000:
            self._seen.add(text)
            self._job.log(text, level)


@contextmanager
def library_lines(job: Job) -> Iterator[None]:
    """While this lasts, warnings and log lines of the libraries are events of the job."""
    handler = _ToJob(job)
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    show = warnings.showwarning

    def say(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, (FutureWarning, DeprecationWarning)):
            # What will change in a library's next version is for developers.
            append_private(job.folder.worker_log, f"{category.__name__}: {message}\n")
        else:
            handler.say(str(message))

    warnings.showwarning = say
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        warnings.showwarning = show
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
