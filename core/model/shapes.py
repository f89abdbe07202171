"""What a model looks like, from config.json and safetensors headers alone: no torch, no weights.

The form uses this to check layer names before anything is started; the merge uses it to know how
much memory and disk it needs.
"""

from __future__ import annotations

import difflib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.errors import InputError
from core.config.hub import local_folder, model_file
from core.model import fields
from core.model.experts import Mixture, count_of, mixture_of
from core.model.fast.known import (
    ARCHITECTURES,
    LINEARS,
    UNSAID_HEAD_WIDTHS,
    odd_architecture,
    window_of,
)
from core.model.fields import number

INDEX_NAME = "model.safetensors.index.json"
WEIGHTS_NAME = "model.safetensors"

_HEADER_LIMIT_BYTES = 100_000_000
"""The safetensors format's own limit: a longer header is garbage or an attack."""

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
"""Floating types of the format; other types hold no parameters of an unquantized model."""

_HEADS_OF_OUTPUT = ("lm_head.weight", "embed_out.weight", "output.weight")
_NO_ADAPTER = {"lm_head", "wte", "wpe", "shared", "embed_out"}
_NOT_TEXT = ("vision", "visual", "image", "audio", "multi_modal", "mm_")
"""Parts of names of modules that read something else than text."""
_TIED = frozenset(
    {
        "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n", "gemma3n_text", "gemma4",
        "gemma4_text", "cohere", "cohere2", "falcon", "gpt2", "gpt_bigcode", "bloom", "opt",
        "smollm3", "starcoder2", "ernie4_5",
    }
)  # fmt: skip
"""Model types whose head is the embedding where config.json does not say; of others it is not."""
_EAGER = frozenset({"gemma2"})
"""Model types without sdpa whose eager attention keeps packed rows apart."""
_UNSAID: dict[str, dict[str, int]] = {
    "gemma3_text": {
        "vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    },
    **{kind: {"head_dim": width} for kind, width in UNSAID_HEAD_WIDTHS.items()},
}  # fmt: skip
"""Sizes that published models leave to transformers' defaults."""


@dataclass(frozen=True)
class Tensor:
    """One entry of a safetensors header."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Linear:
    """The linear layers of one name and size, such as all ``q_proj`` of a model."""

    name: str
    outputs: int
    inputs: int
    count: int
    expert: bool = False
    """One of a mixture; loading joins them into one tensor, which is no linear layer any more."""
    text: bool = True
    """It belongs to the language model, which alone is trained."""


@dataclass(frozen=True)
class ModelShape:
    """The facts of a model that can be had without loading it. None: not known, see ``why``."""

    name: str
    architecture: str
    hidden_size: int | None
    layers: int | None
    vocab_size: int | None
    context_length: int | None
    """Longest sequence the model was built for, in tokens."""
    tied: bool
    """Input embedding and output head share their weights."""
    quantization: str
    """The method the checkpoint is already quantized with; empty for a plain one."""
    linear_names: tuple[str, ...] | None
    """Last parts of the names of the linear layers: what adapter.target_modules may hold."""
    parameters: int | None
    """Stored parameters; tied weights count once."""
    size_bytes: int | None
    """Size of the weights in the checkpoint's own precision."""
    dtype: str | None
    """Most used precision of the checkpoint, such as BF16."""
    why: str = ""
    """Why something is not known."""
    intermediate_size: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    experts: int = 0
    """Experts of a mixture; 0 for a dense model."""
    experts_per_token: int = 0
    expert_size: int | None = None
    """Inner width of one expert, where it is not that of the MLP."""
    mixture: Mixture | None = None
    """Where its experts are and how wide; None for a dense model, and where that is not told."""
    more_than_text: bool = False
    """It takes images or sound as well."""
    linears: tuple[Linear, ...] | None = None
    """The linear layers without the output head; None while the weights are not there."""
    eager: bool = False
    """Its attention has no sdpa, so that "auto" means eager."""
    whole_logits: int = 0
    """Tensors of all logits that it keeps where it changes them after the head; 0: it does not."""
    odd: str = ""
    """What it has that the fused path was not written for, were it of a family that it knows."""
    window: int | None = None
    """How many tokens a token sees, itself included, where attention slides; None: all before."""
    unloadable: str = ""
    """Why no run can load it, as far as config.json alone tells."""


def shape_of(name_or_path: str, revision: str | None = None) -> ModelShape:
    """Describe a model from its config.json and the headers of its safetensors files.

    Weights of a hub model are looked up in the local cache only, never fetched for this; while
    they are not there, layer names and sizes are None. Raises InputError for a folder that is no
    model, has no safetensors weights, or has broken ones.
    """
    config = read_config(name_or_path, revision)
    return _shape(name_or_path, config, _tensors(name_or_path, revision))


def configured(name_or_path: str, revision: str | None = None) -> ModelShape:
    """Describe a model from its config.json alone, whether or not its weights are there."""
    return _shape(name_or_path, read_config(name_or_path, revision), None)


def _shape(
    name_or_path: str, config: dict[str, Any], tensors: dict[str, Tensor] | None
) -> ModelShape:
    # Models of several modalities keep the language model's numbers one level down.
    nested = config.get("text_config")
    text: dict[str, Any] = nested if isinstance(nested, dict) else config
    unsaid = _UNSAID.get(str(text.get("model_type")), {})
    text = fields.checked(name_or_path, unsaid | text)
    vocab = number(text, "vocab_size")
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else ""
    floats = [t for t in tensors.values() if t.dtype in _BYTES] if tensors is not None else []
    linears = _linears(tensors, vocab) if tensors is not None else None
    heads, hidden = number(text, *fields.HEADS), number(text, *fields.HIDDEN)
    layers, experts = number(text, *fields.LAYERS), count_of(text)
    return ModelShape(
        name=name_or_path,
        architecture=fields.architecture_of(name_or_path, config),
        hidden_size=hidden,
        layers=layers,
        vocab_size=vocab,
        context_length=_context(text),
        tied=_tied(config, text, tensors),
        quantization=str(method),
        linear_names=None if linears is None else tuple(sorted({one.name for one in linears})),
        parameters=sum(t.count for t in floats) if tensors is not None else None,
        size_bytes=sum(t.count * _BYTES[t.dtype] for t in floats) if tensors is not None else None,
        dtype=_main_dtype(floats),
        why="" if tensors is not None else "the weights are not downloaded yet",
        intermediate_size=number(text, *fields.WIDE),
        heads=heads,
        kv_heads=number(text, "num_key_value_heads") or heads,
        head_dim=number(text, "head_dim") or (hidden // heads if hidden and heads else None),
        experts=experts,
        experts_per_token=number(text, *fields.ROUTES) or 0,
        expert_size=number(text, "moe_intermediate_size"),
        mixture=mixture_of(text, layers) if experts > 1 else None,
        more_than_text=any(name in config for name in ("vision_config", "audio_config")),
        linears=linears,
        eager=text.get("model_type") in _EAGER,
        whole_logits=_whole_logits(text),
        odd=odd_architecture(text) or "",
        window=window_of(text),
        unloadable=fields.unloadable(config),
    )


def _context(text: Mapping[str, Any]) -> int | None:
    longest = number(text, *fields.CONTEXT)
    return longest if longest and longest > 0 else None


def _whole_logits(text: Mapping[str, Any]) -> int:
    kind = str(text.get("model_type"))
    if text.get("final_logit_softcapping", 30.0 if kind == "gemma2" else None):
        return 2  # capped by tanh, whose result is kept beside them
    return int(kind.startswith("cohere") or text.get("logits_scaling", 1) != 1)


def _tied(
    config: Mapping[str, Any], text: Mapping[str, Any], tensors: Mapping[str, Tensor] | None
) -> bool:
    """Whether embedding and head are one: as told, else as stored, else as is usual."""
    for told in (config.get("tie_word_embeddings"), text.get("tie_word_embeddings")):
        if isinstance(told, bool):
            return told
    if tensors is not None:
        return not any(name.endswith(_HEADS_OF_OUTPUT) for name in tensors)
    return text.get("model_type", config.get("model_type")) in _TIED


def beyond_context(max_length: int, context_length: int | None) -> str:
    """A sentence where rows may be longer than what the model has learned to read; else empty.

    It is no mistake: rotary models go on beyond, only worse until they have learned it.
    """
    if context_length is None or max_length <= context_length:
        return ""
    return (
        f"data.max_length is {max_length:,}, and the model has learned to read {context_length:,} "
        "tokens: what lies beyond is foreign to it. Lower it, unless longer rows are what you teach"
    )


def check_target_modules(targets: str | Iterable[str], shape: ModelShape) -> str | None:
    """Why the model cannot take adapters on these layers, with the nearest names; None when fine.

    Without its weights the layers are those of its family, where that is known. Else nothing can
    be said: None as well.
    """
    known = shape.linear_names
    if known is None and shape.architecture in ARCHITECTURES:
        known = LINEARS
    if known is None or targets == "all-linear":
        return None
    names = [targets] if isinstance(targets, str) else list(targets)
    # PEFT matches by the end of a dotted name: only its last part must be a linear layer.
    model = "the model" if shape.architecture == fields.UNKNOWN else shape.architecture
    return missing_targets(names, known, model)


def unknown_targets(problem: str) -> InputError:
    """The error for whoever asked for such layers, before there is a run."""
    return InputError(
        problem,
        kind="unknown_target_module",
        remedies=("set adapter.target_modules to all-linear, or to layers that are there",),
    )


def missing_targets(targets: Iterable[str], known: Iterable[str], model: str) -> str | None:
    """A sentence on the targets that end in no known layer name, or None when all do."""
    names = sorted(set(known))
    missing = [target for target in targets if target.rsplit(".", 1)[-1] not in names]
    if not missing:
        return None
    parts = []
    for target in missing:
        near = difflib.get_close_matches(target, names, n=2, cutoff=0.5)
        parts.append(f"{target!r}" + (f" (did you mean {' or '.join(near)}?)" if near else ""))
    return f"{model} has no linear layer {', '.join(parts)}; it has {', '.join(names)}"


def read_config(name_or_path: str, revision: str | None = None) -> dict[str, Any]:
    """A model's config.json. Raises InputError when there is none or it is not a JSON object."""
    path = model_file(name_or_path, "config.json", revision)
    if path is None:
        raise InputError(
            f"{name_or_path} has no config.json, so it is not a model",
            kind="no_model",
            remedies=("give the folder that holds config.json and the safetensors files",),
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}", kind="bad_model") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} must hold a JSON object", kind="bad_model")
    return config


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file: 8 bytes of length, then JSON.

    Raises InputError when the file is cut short or is something else.
    """
    try:
        return _header(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise InputError(
            f"{path} is not a complete safetensors file: {error}",
            kind="bad_weights",
            remedies=("download the model again",),
        ) from error


def _header(path: Path) -> dict[str, Tensor]:
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(_HEADER_LIMIT_BYTES, size - 8):
            raise ValueError(f"its header claims {length:,} bytes of a file of {size:,}")
        entries = json.loads(file.read(length))
    if not isinstance(entries, dict):
        raise TypeError("its header is no JSON object")
    tensors = {}
    end = 0
    for name, entry in entries.items():
        if name != "__metadata__":
            tensors[name] = Tensor(str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
            end = max(end, int(entry["data_offsets"][1]))
    if 8 + length + end > size:
        raise ValueError(f"{8 + length + end:,} bytes expected, {size:,} found")
    return tensors


def _tensors(name_or_path: str, revision: str | None) -> dict[str, Tensor] | None:
    """All tensors of a model, or None when the weights of a hub model are not in the cache."""
    folder = local_folder(name_or_path)
    files = _local_weights(folder) if folder else _cached_weights(name_or_path, revision)
    if files is None:
        return None
    return {name: tensor for file in files for name, tensor in read_header(file).items()}


def _local_weights(folder: Path) -> list[Path]:
    if (folder / INDEX_NAME).is_file():
        files = [folder / name for name in _shards(folder / INDEX_NAME)]
        gone = [file.name for file in files if not file.is_file()]
        if gone:
            raise InputError(
                f"{folder} lacks {len(gone)} of {len(files)} weight files, such as {gone[0]}",
                kind="no_weights",
                remedies=("download the model again",),
            )
        return files
    if (folder / WEIGHTS_NAME).is_file():
        return [folder / WEIGHTS_NAME]
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".pth"))
    if pickled:
        raise InputError(
            f"{folder} holds its weights as pickle ({pickled[0]}); only safetensors are read, "
            "because a pickle can run code",
            kind="pickle_weights",
            remedies=("take a version of the model with model.safetensors",),
        )
    raise InputError(
        f"{folder} holds no weights: there is neither {WEIGHTS_NAME} nor {INDEX_NAME}",
        kind="no_weights",
        remedies=("give the folder that holds the safetensors files",),
    )


def _cached_weights(repo: str, revision: str | None) -> list[Path] | None:
    # A tenth of a second to import: only hub models pay for it.
    from huggingface_hub import try_to_load_from_cache

    def cached(filename: str) -> Path | None:
        found = try_to_load_from_cache(repo, filename, revision=revision)
        return Path(found) if isinstance(found, str) else None

    index = cached(INDEX_NAME)
    names = _shards(index) if index else [WEIGHTS_NAME]
    files = [path for path in map(cached, names) if path]
    return files if len(files) == len(names) else None


def _shards(index: Path) -> list[str]:
    """File names in an index. A name that leads out of the folder is refused."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        strange = [name for name in names if Path(name).name != name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is not a weight index: {error}", kind="bad_weights") from error
    if strange:
        raise InputError(f"{index} names a file elsewhere: {strange[0]!r}", kind="bad_weights")
    return names


def _linears(tensors: Mapping[str, Tensor], vocab: int | None) -> tuple[Linear, ...]:
    counts: dict[tuple[str, int, int, bool, bool], int] = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        leaf = module.rpartition(".")[2]
        if kind != "weight" or len(tensor.shape) != 2 or not leaf:
            continue
        if leaf not in _NO_ADAPTER and "embed" not in leaf and tensor.shape[0] != vocab:
            text = not any(part in name for part in _NOT_TEXT)
            key = (leaf, *tensor.shape, ".experts." in name, text)
            counts[key] = counts.get(key, 0) + 1
    return tuple(
        Linear(leaf, outputs, inputs, count, expert, text)
        for (leaf, outputs, inputs, expert, text), count in sorted(counts.items())
    )


def _main_dtype(tensors: Iterable[Tensor]) -> str | None:
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + tensor.count
    return max(counts, key=lambda dtype: counts[dtype]) if counts else None
