"""When Liger's layers are put on, and that nothing of them stays. The package is a fake."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from core.model import liger


class Norm:
    """A class of a model's module."""


class Theirs:
    """What the package puts in its place."""


def rotate() -> str:
    return "own"


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the package was asked for; its applier changes the module as the real one does."""
    found: dict[str, Any] = {}
    module = ModuleType("models_of_a_test")
    module.Norm, module.rotate = Norm, rotate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def applier(
        rope: bool = True, rms_norm: bool = True, swiglu: bool = True,
        fused_linear_cross_entropy: bool = True, model: Any = None,
    ) -> None:  # fmt: skip
        found.update(rope=rope, loss=fused_linear_cross_entropy, model=model)
        module.Norm, module.rotate = Theirs, lambda: "theirs"  # type: ignore[attr-defined]

    package = ModuleType("liger_kernel.transformers.monkey_patch")
    package.MODEL_TYPE_TO_APPLY_LIGER_FN = {"llama": applier, "mixtral": applier}  # type: ignore[attr-defined]
    for name in ("liger_kernel", "liger_kernel.transformers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setattr(liger, "installed", lambda: "0.8.5")
    found["module"] = module
    yield found
    liger.take_off()


def model(kind: str) -> Any:
    made = type("Model", (), {"__module__": "models_of_a_test"})()
    made.config = SimpleNamespace(model_type=kind)
    return made


def test_layers_are_put_on_without_the_loss_and_taken_off(called: dict[str, Any]) -> None:
    causal, module = model("llama"), called["module"]
    assert liger.put_on(causal, "cuda:0") == "with Liger's norms, rotation and SwiGLU (0.8.5)"
    assert (called["rope"], called["loss"], called["model"]) == (True, False, causal)
    assert module.Norm is Norm, "the next model may be for a CPU"
    assert module.rotate() == "theirs"
    liger.take_off()
    assert module.rotate is rotate


@pytest.mark.parametrize(("kind", "device"), [("llama", "cpu"), ("mixtral", "cuda:0")])
def test_elsewhere_nothing_is_changed(called: dict[str, Any], kind: str, device: str) -> None:
    assert liger.put_on(model(kind), device) is None
    assert "model" not in called


def test_without_the_package_nothing_is_changed(
    called: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liger, "installed", lambda: None)
    assert liger.put_on(model("llama"), "cuda:0") is None
    assert called["module"].Norm is Norm
