"""LoRA adapters on a frozen base: made new, or loaded from a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.model.shapes import missing_targets

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"


def attach(model: PreTrainedModel, config: RunConfig) -> PeftModel:
    """Put a fresh adapter on a base from load_base: fp32, the same numbers for the same seed.

    The base stays frozen. Raises InputError when a target is not in the model.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    wish = config.adapter
    check_targets(model, wish.target_modules)
    targets, others = targets_of(model, wish.target_modules)
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=wish.r,
        lora_alpha=wish.lora_alpha,
        lora_dropout=wish.lora_dropout,
        target_modules=targets,
        exclude_modules=others,
        use_rslora=wish.use_rslora,
        use_dora=wish.use_dora,
        bias="none",
    )
    lora.revision = config.model.revision
    with torch.random.fork_rng():
        torch.manual_seed(config.train.seed)
        try:
            adapted = get_peft_model(model, lora, autocast_adapter_dtype=True)
        except ValueError as error:
            raise InputError(
                f"this model cannot take this adapter: {error}",
                kind="bad_adapter",
                remedies=(
                    "set adapter.target_modules to all-linear",
                    "experts take no dropout: set adapter.lora_dropout to 0",
                ),
            ) from error
    _in_full_precision(adapted)
    if config.train.activation_checkpointing:
        # The recomputed blocks need an input that asks for gradients; the embedding is frozen.
        adapted.enable_input_require_grads()
    return adapted


def load_adapter(base: PreTrainedModel, path: Path, *, trainable: bool = False) -> PeftModel:
    """Put the adapter of a folder on its base. ``base`` is changed in place.

    Only safetensors are read. Raises InputError when the folder holds no adapter, or one that
    does not fit the base.
    """
    from peft import get_peft_model, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    lora = read_adapter_config(path)
    lora.inference_mode = not trainable
    try:
        weights = load_file(path / WEIGHTS_NAME)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path / WEIGHTS_NAME} cannot be read: {error}", kind="bad_adapter"
        ) from error
    try:
        adapted = get_peft_model(base, lora, autocast_adapter_dtype=True)
        report = set_peft_model_state_dict(adapted, weights)
    except (ValueError, RuntimeError, KeyError) as error:
        raise _does_not_fit(path, str(error)) from error
    wrong = [*report.unexpected_keys, *(k for k in report.missing_keys if "lora_" in k)]
    if wrong:
        raise _does_not_fit(path, f"{len(wrong)} tensors differ, such as {wrong[0]}")
    if trainable:
        _in_full_precision(adapted)
    else:
        adapted.requires_grad_(False)
        adapted.eval()
    return adapted


def read_adapter_config(path: Path) -> LoraConfig:
    """The LoraConfig of an adapter folder. Raises InputError when there is none."""
    from peft import LoraConfig

    try:
        values = json.loads((path / CONFIG_NAME).read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("peft_type") != "LORA":
            raise ValueError("it does not describe a LoRA adapter")
        lora = LoraConfig.from_peft_type(**values)
    except FileNotFoundError as error:
        raise InputError(
            f"{path} holds no adapter: {CONFIG_NAME} is missing", kind="no_adapter"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path / CONFIG_NAME}: {error}", kind="bad_adapter") from error
    return lora


def check_targets(model: PreTrainedModel, targets: str | list[str]) -> None:
    """Raise InputError, with the nearest names, when a target is no linear layer of the model."""
    if isinstance(targets, str):
        return
    known = linear_names(model)
    problem = missing_targets(targets, known, type(model).__name__)
    if problem is None:
        return
    raise InputError(
        f"adapter.target_modules: {problem}",
        kind="unknown_target_module",
        remedies=("correct the name, or set adapter.target_modules to all-linear",),
    )


def targets_of(model: PreTrainedModel, wish: str | list[str]) -> tuple[str | list[str], str | None]:
    """The layers that get adapters, and a pattern of those that do not, in PEFT's words.

    Of a model that takes more than text only the language model learns: no gradient reaches the
    rest. In a mixture of experts all-linear means attention: its experts are no linear layers, and
    its router's decisions stay.
    """
    import re

    decoder = model.get_decoder()
    place = next((name for name, module in model.named_modules() if module is decoder), "")
    depth = place.count(".") + 1
    others = sorted(
        {
            ".".join(name.split(".")[:depth])
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and place and not name.startswith(f"{place}.")
            and module is not model.get_output_embeddings()
        }
    )  # fmt: skip
    exclude = rf"({'|'.join(map(re.escape, others))})(\..*)?" if others else None
    if isinstance(wish, str) and any(".experts" in name for name, _ in model.named_modules()):
        wish = sorted(
            {
                name.rpartition(".")[2]
                for name, module in decoder.named_modules()
                if isinstance(module, torch.nn.Linear) and "attn" in name
            }
        )
    return wish, exclude


def linear_names(model: PreTrainedModel) -> tuple[str, ...]:
    """Last parts of the names of the linear layers, without the output head; sorted."""
    head = model.get_output_embeddings()
    found = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    return tuple(sorted(found))


def trainable_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Numbers of parameters: (those that learn, all, adapter included).

    A 4-bit weight counts as what it stands for, not as the bytes it is stored in.
    """
    trainable = total = 0
    for parameter in model.parameters():
        count = _count(parameter)
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total


def _count(parameter: Any) -> int:
    state = getattr(parameter, "quant_state", None)
    return math.prod(state.shape) if state is not None else int(parameter.numel())


def _in_full_precision(model: PeftModel) -> None:
    """Adapters learn in fp32: bf16 would round small updates away."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _does_not_fit(path: Path, reason: str) -> InputError:
    lines = reason.strip().splitlines()
    return InputError(
        f"the adapter {path} does not fit this base: {lines[0] if lines else 'unknown reason'}",
        kind="bad_adapter",
        remedies=("use the base model that it was trained on",),
    )
