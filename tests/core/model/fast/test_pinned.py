"""How long memory of the host stays pinned, and what is said where it cannot be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from core.config.errors import FailedError
from core.model.fast.pinned import pinned


def test_memory_stays_pinned_until_its_last_view_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[int, int] = {}

    def register(address: int, size: int, _: int) -> int:
        known[address] = size
        return 0

    def unregister(address: int) -> None:
        maps = Path("/proc/self/maps").read_text().splitlines()
        ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps]
        assert any(begin <= address < end for begin, end in ranges)
        del known[address]

    runtime = SimpleNamespace(cudaHostRegister=register, cudaHostUnregister=unregister)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    whole = pinned(3, 1024, dtype=torch.bfloat16)
    assert list(known.items()) == [(whole.data_ptr(), 3 * 1024 * 2)]
    view = whole[1, 5:10].fill_(7)
    del whole
    assert known
    assert view.tolist() == [7] * 5
    del view
    assert not known


def test_memory_that_the_system_does_not_give_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = SimpleNamespace(cudaHostRegister=lambda *_: 2, cudaHostUnregister=None)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    with pytest.raises(FailedError, match=r"0\.5 GiB .* could not be pinned .*error 2"):
        pinned(1 << 28, dtype=torch.bfloat16)
