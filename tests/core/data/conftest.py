"""A tiny tokenizer, trained in a fraction of a second, and model folders around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chat_templates import ModelMaker
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIALS = [
    "<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>",
    "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>", "<|eom_id|>", "[INST]", "[/INST]",
    "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
]  # fmt: skip
CORPUS = [
    "user\nWhat is the capital of France?\nassistant\nThe capital of France is Paris.",
    "system\nYou are a helpful assistant.\nmodel\nHello there, how can I help you today?",
    "[INST] Tell me a short story. [/INST] Once upon a time there was a lamp.",
    "### Instruction:\nName three colours.\n\n### Response:\nRed, green and blue.\n\n",
]


def train_tokenizer(style: str) -> Tokenizer:
    """A byte-level tokenizer as Llama 3 and Qwen have, or a metaspace one as Llama 2 has."""
    if style == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split("\n", "isolated"),
                pre_tokenizers.Metaspace(prepend_scheme="first"),
            ]
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    if style != "bytes":
        trainer = trainers.BpeTrainer(
            vocab_size=900, special_tokens=SPECIALS + alphabet, show_progress=False
        )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer_texts() -> dict[str, str]:
    """``tokenizer.json`` by style."""
    texts = {style: train_tokenizer(style).to_str() for style in ("bytes", "metaspace")}
    plain = json.loads(texts["metaspace"])
    # The byte tokens were trained in as special tokens to get into the vocabulary.
    plain["added_tokens"] = [t for t in plain["added_tokens"] if not t["content"].startswith("<0x")]
    return texts | {"metaspace": json.dumps(plain)}


@pytest.fixture
def make_model(tmp_path: Path, tokenizer_texts: dict[str, str]) -> ModelMaker:
    """A model folder without weights: tokenizer, configuration and a chat template."""

    def make(template: str | None, style: str = "bytes", **settings: Any) -> Path:
        folder = tmp_path / f"model-{len(list(tmp_path.glob('model-*')))}"
        folder.mkdir()
        (folder / "tokenizer.json").write_text(tokenizer_texts[style], encoding="utf-8")
        values = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        } | settings
        values = {key: value for key, value in values.items() if value is not None}
        (folder / "tokenizer_config.json").write_text(json.dumps(values), encoding="utf-8")
        (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Write rows (or raw lines) as a jsonl file."""

    def write(*rows: Any, name: str = "rows.jsonl") -> Path:
        lines = [
            row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode()
            for row in rows
        ]
        path = tmp_path / name
        path.write_bytes(b"\n".join(lines) + b"\n")
        return path

    return write
