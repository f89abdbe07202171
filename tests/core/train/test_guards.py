from __future__ import annotations

import math

import pytest

from core.config.errors import FailedError
from core.train.guards import NumberGuard, disk_full


def test_sound_numbers_pass_and_clear_the_count() -> None:
    guard = NumberGuard()
    assert guard.judge(1, 2.0, 1.0) is None
    assert "step 2 gave loss nan" in str(guard.judge(2, math.nan, 1.0))
    assert "gradient norm inf" in str(guard.judge(3, 1.0, math.inf))
    assert guard.judge(4, 2.0, 1.0) is None
    assert guard.skipped_in_a_row == 0


def test_three_in_a_row_end_the_run_also_over_a_resume() -> None:
    guard = NumberGuard(skipped_in_a_row=2)
    with pytest.raises(FailedError) as caught:
        guard.judge(9, math.nan, math.nan)
    assert caught.value.kind == "diverged"
    assert len(caught.value.remedies) == 3


def test_a_full_disk_is_told_with_numbers() -> None:
    text = disk_full(7, free_bytes=3 << 20, needed_bytes=90 << 20)
    assert "step 7" in text
    assert "about 90 MiB are needed, 3 MiB are free" in text
    assert "needed" not in disk_full(7, free_bytes=3 << 20, needed_bytes=0)
