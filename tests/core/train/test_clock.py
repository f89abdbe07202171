from __future__ import annotations

import pytest

from core.train import clock


def test_time_away_does_not_count_however_nested(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(clock.time, "monotonic", lambda: now)
    steps = clock.StepClock()
    now = 102.0
    steps.count(50)
    with steps.stopped():
        now = 110.0
        with steps.stopped():
            now = 150.0
    now = 151.0
    steps.count(30)
    assert steps.restart() == (3.0, 2, 80)
    assert steps.restart() == (0.0, 0, 0)
