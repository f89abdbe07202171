"""What is recorded, replayed and forgotten; the graphs themselves are CUDA's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core.model.fast import graphs


class Recorded:
    def __init__(self) -> None:
        self.launch: Any = None

    def replay(self) -> None:
        self.launch()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What CUDA was asked for."""
    log: list[str] = []

    @contextmanager
    def recording(graph: Recorded, *, pool: str, capture_error_mode: str) -> Iterator[None]:
        log.append(f"recorded in {pool}")
        graph.launch = lambda: log.append("replayed")
        yield

    def pool() -> str:
        log.append("pool")
        return f"pool {log.count('pool')}"

    for name, stand_in in (
        ("CUDAGraph", Recorded), ("graph", recording), ("graph_pool_handle", pool),
        ("synchronize", lambda: log.append("waited")),
    ):  # fmt: skip
        monkeypatch.setattr(graphs.torch.cuda, name, stand_in)
    return log


def test_the_first_time_is_run_the_second_recorded(told: list[str]) -> None:
    found = graphs.Graphs(enabled=True)
    launches: list[str] = []
    for _ in range(3):
        found.run("a", lambda: launches.append("a"))
    assert launches == ["a", "a"]
    assert told == ["pool", "recorded in pool 1", "replayed", "replayed"]


def test_as_many_shapes_are_known_as_are_recorded(told: list[str]) -> None:
    found = graphs.Graphs(enabled=True)
    for key in range(12):
        assert not found.knows(key)
        found.run(key, lambda: None)
    assert [found.knows(key) for key in range(12)] == [True] * 8 + [False] * 4
    found.forget()
    assert not found.knows(0)


@pytest.mark.parametrize("free_gib", [0.5, 8])
def test_launches_of_no_shape_get_memory_where_there_is_little(
    told: list[str], monkeypatch: pytest.MonkeyPatch, free_gib: float
) -> None:
    free = int(free_gib * 2**30), 80 << 30
    monkeypatch.setattr(graphs.torch.cuda, "mem_get_info", lambda: free)
    found = graphs.Graphs(enabled=True)
    for key in ("a", "a", None, None):
        found.run(key, lambda: None)
    assert told.count("waited") == (free_gib < 1)


def test_what_is_forgotten_gives_its_memory_back_once_it_is_not_in_use(told: list[str]) -> None:
    found = graphs.Graphs(enabled=True)
    found.forget()
    found.run("a", lambda: None)
    found.forget()
    assert told == ["pool"], "nothing was recorded"
    for _ in range(2):
        found.run("a", lambda: None)
    found.forget()
    for _ in range(2):
        found.run("a", lambda: None)
    assert told[1:] == [
        "recorded in pool 1", "replayed", "waited", "pool", "recorded in pool 2", "replayed",
    ]  # fmt: skip


def test_without_graphs_all_is_launched(told: list[str]) -> None:
    found = graphs.Graphs(enabled=False)
    launches: list[int] = []
    for number in range(3):
        found.run("a", lambda number=number: launches.append(number))  # type: ignore[misc]
    found.forget()
    assert launches == [0, 1, 2]
    assert told == []
