"""The words for an estimate."""

from __future__ import annotations

import pytest

from core.model.fits import Fit
from core.model.memory import Estimate
from tui.memory import line, more, verdict

GIB = 1 << 30


@pytest.mark.parametrize(
    ("total", "free", "said"),
    [
        (5.4, 5.38, "5.40 GiB, and 5.38 are free"),
        (5.4, 5.3996, "5.4000 GiB, and 5.3996 are free"),
        (24.6, 24.0, "24.6 GiB, and 24.0 are free"),
    ],
)  # fmt: skip
def test_two_sizes_are_told_apart(total: float, free: float, said: str) -> None:
    found = Estimate(int(total * GIB), *[0] * 10)
    fit = Fit(found, "a GPU", int(free * GIB), True)
    assert f"does not fit: {said} on a GPU" in verdict(fit)
    assert line(fit).startswith("Memory est. " + said.split(" are ")[0].replace(" GiB, and", " of"))


def test_each_part_stands_under_its_own_name() -> None:
    found = Estimate(*(number * GIB for number in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)))
    told = (
        "weights 7.0 · adapter 56.0 · activations 192.0 · loss 256.0 · scratch 512.0 · "
        "context 1024.0"
    )
    fit = Fit(found, "a GPU", GIB, True)
    assert line(fit).endswith(told)
    assert f"GiB: {told}" in more(fit)


def test_a_limit_is_told_as_it_was_set_and_apart_from_the_total() -> None:
    found = Estimate(int(5.432 * GIB), *[0] * 10)
    for limit, total, said in ((5.4, "5.43", "5.4"), (5.4315, "5.432", "5.4315"), (4, "5.4", "4")):
        fit = Fit(found, "a GPU", 79 * GIB, True, int(limit * GIB))
        assert f"{total} GiB, and memory.limit_gib allows {said}. Lower" in verdict(fit)
        assert line(fit).startswith(f"Memory est. {total} of {said} GiB limit ✗ does not fit")
    enough = Fit(found, "a GPU", int(5.44 * GIB), True, int(5.435 * GIB))
    assert verdict(enough).startswith("fits: 5.43 of 5.44 GiB")
    assert line(enough).startswith("Memory est. 5.4 of 5.435 GiB limit fits")
