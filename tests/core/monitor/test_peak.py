"""The highest use of a GPU is noted while it is watched."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from fake_nvml import FakeNvml, Gpu

from core.monitor import peak
from core.monitor.nvml import Memory


def test_the_highest_use_of_the_card_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([5, 7, 40, 9, *[8] * 10_000])

    class Card:
        def by_uuid(self, uuid: str) -> str:
            return uuid

        def memory(self, handle: str) -> Memory:
            return Memory(next(used), 0, 100)

    monkeypatch.setattr(peak, "Nvml", Card)
    monkeypatch.setattr(peak, "LOOK_SECONDS", 0.001)
    card = peak.Peak("GPU-1")
    with card.watch():
        time.sleep(0.1)
    assert card.before_bytes is not None
    assert card.most_bytes is not None
    assert card.most_bytes - card.before_bytes == 35


def test_without_a_name_it_is_the_first_gpu(nvml: Callable[..., FakeNvml]) -> None:
    nvml(Gpu("GPU-1", used=3), Gpu("GPU-2", used=9))
    assert peak.Peak().used_bytes() == 3
    assert peak.Peak("GPU-2").used_bytes() == 9


def test_without_a_gpu_nothing_is_told(nvml: Callable[..., FakeNvml]) -> None:
    nvml(missing=True)
    card = peak.Peak()
    with card.watch():
        pass
    assert (card.before_bytes, card.used_bytes(), card.most_bytes) == (None, None, None)
