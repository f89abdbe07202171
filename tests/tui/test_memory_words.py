"""The words for an estimate."""

from __future__ import annotations

import pytest

from core.model.fits import Fit
from core.model.memory import Estimate
from tui.memory import verdict

GIB = 1 << 30


@pytest.mark.parametrize(
    ("total", "free", "said"),
    [
        (5.4, 5.38, "5.40 GiB, and 5.38 are free"), (5.4, 5.3996, "5.400 GiB, and 5.400 are free"),
        (24.6, 24.0, "24.6 GiB, and 24.0 are free"),
    ],
)  # fmt: skip
def test_two_sizes_are_told_apart(total: float, free: float, said: str) -> None:
    found = Estimate(int(total * GIB), *[0] * 10)
    assert f"does not fit: {said} on a GPU" in verdict(Fit(found, "a GPU", int(free * GIB), True))
