"""A model folder with random weights of a real shape, written once a machine.

    python -m peers.weights llama31-8b FOLDER

Random weights change neither the time of a matrix product nor that of dequantization or attention.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peers.shapes import MODELS
from peers.tokens import BOS, EOS, PAD, UNK

_DONE = "complete"
_SHARD_BYTES = 2_500_000_000
_STD = 0.02
_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


def folder_of(model: str, root: Path) -> Path:
    return root / model


def ready(model: str, root: Path) -> bool:
    """Whether the folder was written to its end."""
    return (folder_of(model, root) / _DONE).exists()


def configuration(model: str) -> Any:
    """The transformers configuration of a shape."""
    from transformers import AutoConfig

    values = MODELS[model] | {
        "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, "use_cache": False,
    }  # fmt: skip
    found = AutoConfig.for_model(values.pop("model_type"), **values)
    found.dtype = "bfloat16"
    return found


def describe(model: str, folder: Path) -> None:
    """Write config.json and a tokenizer: what finetui reads of a model before its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = configuration(model)
    config.save_pretrained(folder)
    _tokenizer(folder, config.vocab_size)


def write(model: str, root: Path, seed: int = 0) -> None:
    """Write the whole folder: configuration, tokenizer, bf16 safetensors in shards."""
    import torch
    from safetensors.torch import save_file

    folder = folder_of(model, root)
    describe(model, folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device=device).manual_seed(seed)
    places: dict[str, str] = {}
    shard: dict[str, Any] = {}

    def flush() -> None:
        name = f"model-{len(set(places.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        places.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, tensor in tensors(model, device, generator):
        shard[name] = tensor.cpu()
        if sum(part.numel() * 2 for part in shard.values()) > _SHARD_BYTES:
            flush()
    if shard:
        flush()
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / _DONE).touch()


def tensors(model: str, device: str, generator: Any) -> Iterator[tuple[str, Any]]:
    """Names and random bf16 tensors of all stored weights, one after the other."""
    import torch
    from transformers import AutoModelForCausalLM

    config = configuration(model)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config).state_dict()
    if config.tie_word_embeddings:
        empty.pop("lm_head.weight", None)
    for name, like in empty.items():
        yield name, tensor_for(name, tuple(like.shape), config.num_hidden_layers, device, generator)


def tensor_for(name: str, shape: tuple[int, ...], layers: int, device: str, generator: Any) -> Any:
    """One weight: norms are one, biases zero, the rest normal as after a usual initialization."""
    import torch

    if name.endswith("norm.weight"):
        return torch.ones(shape, dtype=torch.bfloat16, device=device)
    if name.endswith("bias"):
        return torch.zeros(shape, dtype=torch.bfloat16, device=device)
    into_stream = "o_proj" in name or "down_proj" in name
    std = _STD / math.sqrt(2 * layers) if into_stream else _STD
    made = torch.empty(shape, dtype=torch.bfloat16, device=device)
    return made.normal_(0.0, std, generator=generator)


def _tokenizer(folder: Path, vocabulary: int) -> None:
    """Token i is the word ``w<i>``, so that text and ids are the same data."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<unk>": UNK, "<s>": BOS, "</s>": EOS, "<pad>": PAD}
    words |= {f"w{number}": number for number in range(4, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106 (a token)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>",  # noqa: S106
        pad_token="<pad>", padding_side="right", model_max_length=131072,  # noqa: S106
    )  # fmt: skip
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(folder)


if __name__ == "__main__":
    started = time.monotonic()
    write(sys.argv[1], Path(sys.argv[2]))
    print(f"wrote {sys.argv[1]} in {time.monotonic() - started:.0f} s", file=sys.stderr)
