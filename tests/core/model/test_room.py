from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from core.model.room import device_budget_bytes, free_gib, free_memory_bytes, needed_gib


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "core.model.room.psutil.virtual_memory", lambda: SimpleNamespace(available=1000)
    )


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path) == 1000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("900\n")
    assert free_memory_bytes(tmp_path) == 1000


@pytest.mark.parametrize(("limit", "free"), [(800, 250), (100_000, 1000), (10, 0)])
def test_a_container_has_what_its_limit_leaves(tmp_path: Path, limit: int, free: int) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("600\n")
    (tmp_path / "memory.stat").write_text("anon 550\ninactive_file 50\n")
    assert free_memory_bytes(tmp_path) == free


def test_older_containers_are_known_too(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("800\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text("600\n")
    (tmp_path / "memory/memory.stat").write_text("total_inactive_file 50\n")
    assert free_memory_bytes(tmp_path) == 250


@pytest.mark.parametrize(
    ("limit_gib", "gib"), [(None, 18), (8, 8), (20, 20), (20.5, 18), (4096, 18)]
)
def test_a_plan_may_fill_the_limit_or_a_part_of_what_is_free(
    limit_gib: float | None, gib: float
) -> None:
    assert device_budget_bytes(limit_gib, 20 << 30) == int(gib * (1 << 30))


def test_what_is_enough_is_rounded_up_and_what_is_there_down() -> None:
    gib = 1 << 30
    size = int(5.432 * gib)
    assert (needed_gib(size), needed_gib(size, 2)) == ("5.5", "5.44")
    assert (free_gib(size), free_gib(size, 2)) == ("5.4", "5.43")
    assert needed_gib(3 * gib) == free_gib(3 * gib) == "3.0"
    assert needed_gib(3 * gib + 1) == "3.1"
