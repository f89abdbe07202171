"""Fixtures of the fused path."""

from __future__ import annotations

import importlib.util
import operator
import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core.model.fast import streamed


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the output head of a small model, too, pass by in several tiles."""
    made = streamed.Belt.__init__

    def small(self: Any, table: torch.Tensor, device: torch.device, tile: int = 64) -> None:
        made(self, table, device, tile)

    monkeypatch.setattr(streamed.Belt, "__init__", small)


@pytest.fixture(autouse=True, scope="session")
def counting_interpreter() -> Iterator[None]:
    """Let Triton's interpreter take a number of a kernel as a Python one, as ``range`` wants.

    It holds each as an array of one element and calls ``int()`` on that, which numpy refuses from
    2.4 on. Where Triton does otherwise by now, nothing is changed.
    """
    if os.environ.get("TRITON_INTERPRET") != "1" or importlib.util.find_spec("triton") is None:
        yield
        return
    from triton.runtime import interpreter

    if _counts(interpreter):
        yield
        return
    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    with pytest.MonkeyPatch.context() as changes:
        changes.setattr(interpreter, "_patch_lang_tensor", patched)
        assert _counts(interpreter)
        yield


def _counts(interpreter: Any) -> bool:
    """Whether a number of a kernel can be an index, or the interpreter is not as it was in 3.6."""
    if not hasattr(interpreter, "_patch_lang_tensor") or not hasattr(
        interpreter, "_LangPatchScope"
    ):
        return True
    number = type("number", (), {"handle": SimpleNamespace(data=np.array([3]))})
    interpreter._patch_lang_tensor(number, interpreter._LangPatchScope())
    try:
        return operator.index(number()) == 3  # type: ignore[call-overload]
    except TypeError:
        return False
