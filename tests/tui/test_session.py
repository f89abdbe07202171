"""What one drain makes of records: curves, marks, lines, news."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from idle import TRAINING, IdleLinks

from core.config.schema import RunConfig
from core.record import events as ev
from core.record.folder import RunFolder
from tui.session import Session

_numbers = itertools.count(10_000)


def record(event: ev.Event, time: float = 2e9) -> ev.Record:
    return ev.Record(next(_numbers), time, 1, "training", event)


def step(number: int, loss: float = 1.0) -> ev.StepDone:
    return ev.StepDone(
        step=number, epoch=1.0, loss=loss, learning_rate=1e-4, grad_norm=0.5,
        tokens=100 * number, step_seconds=1.0, tokens_per_second=100.0,
    )  # fmt: skip


@pytest.fixture
def session(root: Path, make_run: Callable[..., RunFolder], links: IdleLinks) -> Session:
    session = Session(root, links)
    session.attach(make_run(TRAINING))
    session.drain()
    session.drain()
    return session


def test_history_becomes_curves_without_news(
    root: Path, make_run: Callable[..., RunFolder], links: IdleLinks
) -> None:
    session = Session(root, links)
    session.attach(make_run())
    update = session.drain()
    assert update is not None
    assert update.curves
    assert not update.news
    assert len(session.curves.train) == 21
    assert [line.text for line in update.lines][-1] == "merge finished"
    assert session.state.merged is not None
    assert {model for _, model in session.answers} == {"base", "merged"}


def test_a_resume_rolls_the_curves_back(session: Session, links: IdleLinks) -> None:
    resumed = ev.Resumed(from_step=10, tier="E", checkpoint="checkpoint-10")
    links.link.more(record(resumed), record(step(11, 0.25)))
    session.drain()
    assert session.curves.train.steps.tolist()[-2:] == [10.0, 11.0]
    assert session.curves.train.values.tolist()[-1] == 0.25
    assert (10, "resumed") in session.curves.marks


def test_steps_that_come_again_replace_the_old_ones(session: Session, links: IdleLinks) -> None:
    links.link.more(record(step(5, 0.5)))
    session.drain()
    assert session.curves.train.steps.tolist()[-1] == 5.0
    assert len(session.curves.speed) == len(session.curves.train)


def test_a_loss_that_is_no_number_stays_a_gap(session: Session, links: IdleLinks) -> None:
    links.link.more(record(step(15, math.nan)))
    session.drain()
    assert math.isnan(session.curves.train.values.tolist()[-1])


def test_news_come_once_and_in_order(session: Session, links: IdleLinks) -> None:
    failed = ev.JobFailed(job="train", kind="oom", message="out of memory", remedies=("less",))
    links.link.more(record(failed))
    update = session.drain()
    assert update is not None
    assert update.news == (failed,)
    assert update.lines[-1].level == "error"
    assert "What to do: less" in update.lines[-1].text
    assert session.drain() is None


def test_what_a_run_that_began_here_fails_of_is_news(root: Path, links: IdleLinks) -> None:
    session = Session(root, links)
    session.show(session.start(RunConfig()))
    failed = ev.JobFailed(job="train", kind="overlay_unmet", message="1 decision fits no row")
    links.link.more(record(failed))
    update = session.drain()
    assert update is not None
    assert update.news == (failed,)
    assert session.failure == "1 decision fits no row"


def test_nothing_new_is_no_update(session: Session) -> None:
    assert session.drain() is None


def test_another_run_begins_empty(
    session: Session, make_run: Callable[..., RunFolder], links: IdleLinks
) -> None:
    former = links.link
    session.attach(make_run(TRAINING, "other"))
    assert former.closed
    assert len(session.curves.train) == 0
    assert session.state.step == 0
