"""The question before quitting: what would be left running, and what would be lost."""

from __future__ import annotations

from tui.screens.ask import Answer
from tui.session import Session

Question = tuple[str, str, tuple[Answer, ...]]


def questions(session: Session, *, unsaved: bool, decided: str = "") -> Question | None:
    """Title, text and answers of what to ask before quitting; None when nothing needs asking.

    ``decided`` says what was decided about rows and where it is kept, where no settings on disk
    name that file yet.
    """
    if session.live:
        return _running(session)
    if unsaved:
        return (
            "Settings are not saved",
            "The settings of the new run stand only in this form." + _kept(decided),
            (
                Answer("write", "w", "write them and quit", "to a TOML file in this folder"),
                Answer("leave", "q", "quit without them"),
                Answer("", "c", "cancel"),
            ),
        )
    return None


def _kept(decided: str) -> str:
    if not decided:
        return ""
    return (
        f"\n\n{decided} It stays, and is found when the data is opened here again. "
        "A run takes it where data.overlay in its settings names it."
    )


def _running(session: Session) -> Question:
    job, state = session.state.job or "job", session.state
    what = f"Training is at step {state.step} of {state.total_steps}."
    if job != "train" or not state.total_steps:
        what = f"A job is running: {job}."
    stop = Answer("stop", "s", "stop and save", "a checkpoint first; resume later")
    abort = Answer("abort", "a", "abort", "at once; only saved checkpoints stay")
    ends = (stop, abort) if job == "train" else (abort,)
    if state.engine_host == "thread":
        text = f"{what}\nIt lives inside this program and ends with it."
        return "Still running", text, (*ends, Answer("", "c", "cancel"))
    leave = Answer("leave", "l", "leave it running", "open finetui again to see it")
    text = f"{what}\nIt does not need this screen."
    return "Still running", text, (leave, *ends, Answer("", "c", "cancel"))
