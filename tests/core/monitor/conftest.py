"""NVML as the tests want it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from fake_nvml import FakeNvml, Gpu


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeNvml]:
    """Put a fake pynvml with these GPUs in place of the real one."""

    def install(*gpus: Gpu, **settings: bool) -> FakeNvml:
        fake = FakeNvml(*gpus, **settings)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install
