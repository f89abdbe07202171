"""pause, continue, save, stop: one request to a running job, and what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.config.errors import FailedError, RefusedError
from core.record import events as ev
from core.record import folder
from core.record.commands import Name
from core.record.folder import RunFolder
from core.record.journal import Tail
from core.record.state import LIVE, state_of
from core.run import link
from tui.cli.follow import onward
from tui.cli.output import Output
from tui.cli.parser import Asked
from tui.sentences import sentence

ANSWER_SECONDS = 10.0
_POLL_SECONDS = 0.1

_EFFECTS: dict[Name, tuple[type[ev.Event], ...]] = {
    "Pause": (ev.Paused,),
    "Continue": (ev.Continued,),
    "SaveNow": (ev.CheckpointSaved,),
    "StopAndSave": (ev.JobStopped,),
    "Abort": (ev.JobStopped,),
}
_ENDS = (ev.JobFinished, ev.JobStopped, ev.JobFailed)


@dataclass(frozen=True)
class Reply:
    """The acknowledgement of a command and, when it came in time, what the command did."""

    answer: ev.CommandAnswered | None
    effect: ev.Event | None


def pause(asked: Asked) -> int:
    return _ask(asked, "Pause", unless="paused")


def go_on(asked: Asked) -> int:
    return _ask(asked, "Continue", unless="running")


def save(asked: Asked) -> int:
    return _ask(asked, "SaveNow")


def stop(asked: Asked) -> int:
    return _ask(asked, "Abort" if asked.options.now else "StopAndSave")


def _ask(asked: Asked, name: Name, unless: str = "") -> int:
    """Send a command. Raises RefusedError (exit code 3) when nothing runs, or when it is refused.

    A run that is already as it would be afterwards (``unless``) is left alone.
    """
    found = folder.resolve(asked.options.run, asked.root)
    state = state_of(found)
    status = state.status
    if status not in LIVE:
        raise RefusedError(
            f"nothing runs on {found.name}: it is {status}",
            kind="not_live",
            remedies=(onward(found, state),),
        )
    if status == unless:
        asked.out.say(f"{found.name} is {status} already")
        _document(asked.out, found, name, Reply(None, None))
        return 0
    reply = _send(found, name)
    if reply.answer is None and reply.effect is None:
        raise FailedError(
            f"{found.name} did not answer within {ANSWER_SECONDS:.0f} seconds",
            kind="no_answer",
            remedies=(
                "it will see the request when it can: look with finetui show " + found.name,
                f"read {found.worker_log}",
            ),
        )
    if reply.answer is not None and not reply.answer.accepted:
        raise RefusedError(f"{found.name} did not do it: {reply.answer.reason}")
    told = sentence(reply.effect) if reply.effect else None
    asked.out.say(f"{found.name}: {told[1]}" if told else _later(found, name))
    _document(asked.out, found, name, reply)
    return 0


def _send(found: RunFolder, name: Name) -> Reply:
    """Send the command and wait a while for its answer and its effect."""
    tail = Tail(found.events)
    while tail.poll():
        pass
    command = link.Link(found).send(name)
    end = time.monotonic() + ANSWER_SECONDS
    answer: ev.CommandAnswered | None = None
    while time.monotonic() < end:
        for record in tail.poll():
            event = record.event
            if isinstance(event, ev.CommandAnswered) and event.command_id == command:
                answer = event
                if not event.accepted:
                    return Reply(answer, None)
            # The effect may stand before the answer: they come from two threads.
            elif isinstance(event, (*_EFFECTS[name], *_ENDS)):
                return Reply(answer, event)
        time.sleep(_POLL_SECONDS)
    return Reply(answer, None)


def _later(found: RunFolder, name: Name) -> str:
    what = {
        "Pause": "will pause after this step; the GPU memory stays taken",
        "Continue": "will go on",
        "SaveNow": "will save after this step",
        "StopAndSave": "will save and stop after this step",
        "Abort": "will stop, saving nothing more",
    }
    return f"{found.name} heard it and {what[name]}"


def _document(out: Output, found: RunFolder, name: Name, reply: Reply) -> None:
    out.document(
        {
            "run": found.name,
            "command": name,
            "accepted": reply.answer.accepted if reply.answer else None,
            "effect": type(reply.effect).__name__ if reply.effect else None,
            "detail": reply.effect,
        }
    )
