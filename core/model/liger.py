"""Liger's norms, rotation and SwiGLU in place of a model's own, where PEFT's layers train on a GPU.

The package is an extra (``finetui[liger]``). Its loss is not taken: ours sees rows with a label
alone. Mixtures of experts and models of more than text stay as they are.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3")
"""Dense text models of which it knows the layers."""
_WISH = {
    "rope": True, "rms_norm": True, "swiglu": True, "geglu": True,
    "cross_entropy": False, "fused_linear_cross_entropy": False,
}  # fmt: skip
_lent: list[tuple[ModuleType, dict[str, Any]]] = []
"""Modules of transformers that were changed, and what they held."""


def installed() -> str | None:
    """The version of the package; None where it is not installed."""
    try:
        return version("liger-kernel")
    except PackageNotFoundError:
        return None


def put_on(model: Any, device: str) -> str | None:
    """Change a causal model's layers; what to say of it, None where nothing was changed.

    Rotation is a function that all models of a family share: ``take_off`` brings it back.
    """
    kind = model.config.model_type
    if not device.startswith("cuda") or kind not in FAMILIES or installed() is None:
        return None
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN as APPLIERS

    if kind not in APPLIERS:
        return None
    module = sys.modules[type(model).__module__]
    before = dict(vars(module))
    APPLIERS[kind](model=model, **_known(APPLIERS[kind]))
    # Classes are for models to come, which may be loaded on a CPU.
    for name, value in before.items():
        if isinstance(value, type):
            setattr(module, name, value)
    _lent.append((module, before))
    return f"with Liger's norms, rotation and SwiGLU ({installed()})"


def take_off() -> None:
    """Give transformers' modules back what was theirs."""
    while _lent:
        module, before = _lent.pop()
        for name, value in before.items():
            if getattr(module, name) is not value:
                setattr(module, name, value)


def _known(applier: Any) -> dict[str, bool]:
    from inspect import signature

    taken = signature(applier).parameters
    return {name: value for name, value in _WISH.items() if name in taken}
