"""The errors a person is meant to read, each with the exit code the command line gives it."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """What a library says first of an error, or else what kind of error it is."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class FinetuiError(Exception):
    """Something went wrong in a way that can be explained: what, where, and what to do.

    ``kind`` is a short stable word for machines (``out_of_memory``, ``unknown_target_module``);
    ``remedies`` are sentences that each name one thing the person can do.
    """

    exit_code = 1

    def __init__(self, message: str, *, kind: str = "failed", remedies: tuple[str, ...] = ()):
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.remedies = remedies


class FailedError(FinetuiError):
    """A job could not be done. Exit code 1."""

    exit_code = 1


class InputError(FinetuiError):
    """A file, flag or setting is wrong. Nothing was started, nothing is lost. Exit code 2."""

    exit_code = 2

    def __init__(self, message: str, *, kind: str = "bad_input", remedies: tuple[str, ...] = ()):
        super().__init__(message, kind=kind, remedies=remedies)


class RefusedError(FinetuiError):
    """The job would lose or silently change something, so it was not done. Exit code 3."""

    exit_code = 3

    def __init__(self, message: str, *, kind: str = "refused", remedies: tuple[str, ...] = ()):
        super().__init__(message, kind=kind, remedies=remedies)
