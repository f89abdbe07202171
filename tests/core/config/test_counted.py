"""Counts with their nouns."""

from __future__ import annotations

import pytest

from core.config.counted import counted


@pytest.mark.parametrize(
    ("count", "nouns", "said"),
    [(0, ("row",), "0 rows"), (1, ("row",), "1 row"), (4812, ("row",), "4,812 rows"),
     (1, ("row is cut", "rows are cut"), "1 row is cut"),
     (2, ("row is cut", "rows are cut"), "2 rows are cut")],
)  # fmt: skip
def test_singular_and_plural(count: int, nouns: tuple[str, ...], said: str) -> None:
    assert counted(count, *nouns) == said
