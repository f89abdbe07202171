"""What is measured: model shapes, rows of the table, and who takes part in them.

Plain data, importable without torch, so that the parent process starts nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip


def _llama(
    hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, **more: Any
) -> dict[str, Any]:
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_parameters": _LLAMA3_ROPE,
        "tie_word_embeddings": False, **more,
    }  # fmt: skip


MODELS: dict[str, dict[str, Any]] = {
    "llama31-8b": _llama(4096, 14336, 32, 32, 8, head_dim=128),
    "llama31-8b-4-layers": _llama(4096, 14336, 4, 32, 8, head_dim=128),
    "llama31-70b": _llama(8192, 28672, 80, 64, 8, head_dim=128),
    "llama32-1b": _llama(
        2048, 8192, 16, 32, 8, head_dim=64, tie_word_embeddings=True,
        rope_parameters=_LLAMA3_ROPE | {"factor": 32.0},
    ),
    "llama2-7b": _llama(
        4096, 11008, 32, 32, 32, head_dim=128, vocab_size=32000, max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    "qwen25-7b": {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584,
        "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": False,
    },
    "qwen3-8b": {
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 4096,
        "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": False,
    },
    # For a dry run of everything on a machine without a GPU.
    "tiny": _llama(
        128, 256, 2, 4, 2, head_dim=32, vocab_size=512, max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
}  # fmt: skip
"""Real configurations, in the words of their config.json."""


@dataclass(frozen=True)
class Entrant:
    """One way to train: a peer (module of this folder) with its options."""

    peer: str
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""


ENTRANTS: dict[str, Entrant] = {
    "finetui": Entrant("finetui"),
    "finetui-peft": Entrant("finetui", {"set": {"train.path": "peft"}}, "its plain path"),
    "finetui-fp8": Entrant("finetui", {"set": {"train.fp8": "true"}}, "products in FP8, e4m3"),
    "unsloth": Entrant("unsloth"),
    # Turns on its compiled blocks, which padding-free batches do without.
    "unsloth-padded": Entrant("unsloth", {"padding": "padded"}, "padded, blocks compiled"),
    "unsloth-kept": Entrant("unsloth", {"checkpointing": False}, "no checkpointing"),
    "trl": Entrant("hugging_face"),
    "trl-kept": Entrant("hugging_face", {"checkpointing": False}, "no checkpointing"),
    "trl-liger": Entrant("hugging_face", {"liger": True, "varlen": True}, "Liger layers, varlen"),
    "axolotl": Entrant("hugging_face", {"axolotl": True, "varlen": True}, "its LoRA kernels, TRL"),
    # What the guides print, and what LLaMA-Factory's own loop comes down to.
    "guides": Entrant("hugging_face", {"plain": True}, "Trainer + prepare_model_for_kbit_training"),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: a workload, and the entrants that it is measured with."""

    name: str
    what: str
    model: str
    entrants: tuple[str, ...]
    length: int = 2048
    batch: int = 2
    accumulation: int = 4
    steps: int = 12
    warm_up: int = 4
    """Steps at the start that are not timed; the losses are logged this often."""
    rank: int = 16
    dropout: float = 0.0
    mixed: bool = False
    """Lengths as in chats, packed, instead of rows that all have ``length`` tokens."""
    random_base: bool = False
    """finetui builds its quantized base from random numbers on the GPU; no folder is written."""
    device_gib: float | None = None
    """Device memory above the baseline that the process may take."""
    as_text: bool = True
    """Peers that treat text otherwise than ids (Unsloth) get text, as their users do."""
    search: bool = False
    """Find the longest sequence that trains, instead of timing one length."""
    settings: dict[str, str] = field(default_factory=dict)
    """Settings of finetui that belong to the workload."""


_ALL = ("finetui", "unsloth", "unsloth-padded", "trl", "axolotl", "finetui-peft")

ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(
            "8b-2x2048", "Llama-3.1-8B, 2 x 2048", "llama31-8b", (*_ALL, "finetui-fp8"),
            settings={"memory.limit_gib": "7.4"},
        ),
        Row(
            "8b-8x2048", "Llama-3.1-8B, 8 x 2048", "llama31-8b",
            ("finetui", "unsloth", "unsloth-padded", "trl", "axolotl"),
            batch=8, steps=7, warm_up=3, settings={"memory.limit_gib": "9.6"},
        ),
        Row(
            "8b-spare", "Llama-3.1-8B, 2 x 2048, up to 21 GiB", "llama31-8b",
            # 21 without what CUDA itself takes.
            ("finetui", "unsloth-kept", "finetui-fp8"), settings={"memory.limit_gib": "22"},
        ),
        Row(
            "8b-free", "Llama-3.1-8B, 2 x 2048, all free memory", "llama31-8b",
            # What everybody gets who sets no limit; for others it is the row above.
            ("finetui", "finetui-fp8"),
        ),
        Row(
            "8b-packed", "Llama-3.1-8B, 2 x 2048, chat lengths, packed", "llama31-8b",
            ("finetui", "unsloth", "trl-liger", "axolotl"), mixed=True,
            settings={"memory.limit_gib": "7.4"},
        ),
        Row(
            "1b-2x2048", "Llama-3.2-1B, 2 x 2048", "llama32-1b", _ALL, steps=24, warm_up=6,
        ),
        Row(
            "qwen25-7b", "Qwen2.5-7B, 2 x 2048", "qwen25-7b", _ALL, as_text=False,
            settings={"memory.limit_gib": "7.6"},
        ),
        Row(
            "qwen3-8b", "Qwen3-8B, 2 x 2048", "qwen3-8b", _ALL,
            settings={"memory.limit_gib": "7.6"},
        ),
        Row(
            "guides", "Qwen2.5-7B, 2 x 2048, accumulation 8, dropout 0.05", "qwen25-7b",
            ("finetui", "guides"), accumulation=8, steps=7, warm_up=3, dropout=0.05,
        ),
        Row(
            "qwen25-7b-6gib", "Qwen2.5-7B, 1 x 2048, within 6 GiB", "qwen25-7b",
            ("finetui",), batch=1, steps=8, random_base=True, device_gib=6.0,
            settings={"memory.limit_gib": "5.9"},
        ),
        Row(
            "llama2-7b-6gib", "Llama-2-7B, 1 x 2048, within 6 GiB", "llama2-7b",
            ("finetui",), batch=1, steps=8, random_base=True, device_gib=6.0,
            settings={"memory.limit_gib": "5.9"},
        ),
        # What cards of 48 GB have at the least: 48e9 bytes.
        Row(
            "70b-48gib", "Llama-3.1-70B, 1 x 2048, within 48 GB", "llama31-70b",
            ("finetui", "finetui-fp8"), batch=1, accumulation=1, steps=6, warm_up=2,
            random_base=True, device_gib=44.7, settings={"memory.limit_gib": "44.4"},
        ),
        Row(
            "longest-24", "Llama-3.1-8B, longest sequence on 24 GB, rank 32", "llama31-8b",
            ("finetui",), batch=1, accumulation=1, rank=32, random_base=True, search=True,
            device_gib=23.5, settings={"memory.limit_gib": "23.5"},
        ),
        Row(
            "longest-80", "Llama-3.1-8B, longest sequence on 80 GB, rank 32", "llama31-8b",
            ("finetui",), batch=1, accumulation=1, rank=32, random_base=True, search=True,
            device_gib=79.0, settings={"memory.limit_gib": "79"},
        ),
        # All that a layer does at such lengths, within minutes and 40 GiB of RAM.
        Row(
            "longest-4-layers", "4 layers of Llama-3.1-8B, longest sequence on 80 GB, rank 32",
            "llama31-8b-4-layers", ("finetui",), batch=1, accumulation=1, rank=32,
            random_base=True, search=True, device_gib=79.0, settings={"memory.limit_gib": "79"},
        ),
        Row(
            "tiny", "tiny, 2 x 64, dry run", "tiny", _ALL,
            length=64, accumulation=2, steps=6, warm_up=2,
        ),
        Row(
            "tiny-packed", "tiny, 2 x 64, packed, dry run", "tiny",
            ("finetui", "unsloth", "trl", "axolotl"),
            length=64, accumulation=2, steps=6, warm_up=2, mixed=True,
        ),
        Row(
            "tiny-random", "tiny, random base, dry run", "tiny", ("finetui",),
            length=64, accumulation=2, steps=4, warm_up=1, random_base=True,
        ),
        Row(
            "tiny-context", "tiny, longest sequence, dry run", "tiny", ("finetui",),
            length=64, batch=1, accumulation=1, random_base=True, search=True,
        ),
    )
}  # fmt: skip

GROUPS = {
    "6gib": ("qwen25-7b-6gib", "llama2-7b-6gib"),
    "longest": ("longest-24", "longest-80"),
    "all": tuple(
        name for name, row in ROWS.items() if row.model not in ("tiny", "llama31-8b-4-layers")
    ),
    "dry": ("tiny", "tiny-packed", "tiny-random", "tiny-context"),
}
"""Several rows under one name."""

SIGN = "RESULT "
"""What lines of a measurement begin with that hold its result; a later one replaces an earlier."""
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
SEED = 3407
LEARNING_RATE = 2e-4
OPTIMIZER = "paged_adamw_8bit"


def dry(row: Row) -> bool:
    """Whether a row only proves that the benchmark runs."""
    return row.model == "tiny"
