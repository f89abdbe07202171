"""TRL's trainer on bitsandbytes NF4, plain or with Liger layers or Axolotl's LoRA kernels; and the
guides' recipe on transformers' own trainer, which LLaMA-Factory's loop comes down to."""

from __future__ import annotations

import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from peers import tokens, weights
from peers.shapes import LEARNING_RATE, MODELS, OPTIMIZER, SEED, TARGETS, Row


def run(row: Row, options: dict[str, Any], models: Path) -> dict[str, Any]:
    """Train as the row says; the figures."""
    from peers.meter import Meter, adapter_dtype, losses, trained_millions

    meter = Meter(row)
    with tempfile.TemporaryDirectory() as place:
        trainer = _trainer(row, options, weights.folder_of(row.model, models), Path(place))
        trainer.data_collator = meter.count(trainer.data_collator)
        trainer.add_callback(meter)
        trainer.train()
    return meter.figures() | {
        "adapter_dtype": adapter_dtype(trainer.model),
        "trained_millions": trained_millions(trainer.model),
        "losses": losses(trainer.state.log_history),
    }


def arguments(row: Row, output: Path) -> dict[str, Any]:
    """What every trainer of transformers' kind is told."""
    import torch

    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(output), "per_device_train_batch_size": row.batch,
        "gradient_accumulation_steps": row.accumulation, "max_steps": row.steps,
        "learning_rate": LEARNING_RATE, "lr_scheduler_type": "constant", "warmup_steps": 0,
        "weight_decay": 0.0, "max_grad_norm": 1.0, "optim": OPTIMIZER, "bf16": gpu,
        "use_cpu": not gpu, "logging_steps": row.warm_up, "save_strategy": "no",
        "report_to": "none", "seed": SEED, "data_seed": SEED, "disable_tqdm": True,
        "train_sampling_strategy": "sequential", "dataloader_num_workers": 0,
    }  # fmt: skip


def dataset(row: Row, *, text: bool) -> Any:
    """The row's documents, as ids or as text that the framework makes ids of."""
    from datasets import Dataset

    made = tokens.documents(row, MODELS[row.model]["vocab_size"])
    if text:
        return Dataset.from_list([{"text": tokens.as_text(ids)} for ids in made])
    return Dataset.from_list([{"input_ids": ids, "labels": ids} for ids in made])


def _trainer(row: Row, options: dict[str, Any], folder: Path, output: Path) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, set_seed

    set_seed(SEED)
    axolotl = _before_axolotl(folder) if options.get("axolotl") else None
    attention = "sdpa"
    if options.get("varlen") and torch.cuda.is_available():
        from peers import attention as varlen

        attention = varlen.register()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
        dtype=torch.bfloat16,
        device_map={"": 0 if torch.cuda.is_available() else "cpu"},
        attn_implementation=attention,
    )  # fmt: skip
    model.config.use_cache = False
    lora = LoraConfig(
        r=row.rank, lora_alpha=row.rank, lora_dropout=row.dropout, bias="none",
        target_modules=list(TARGETS), task_type="CAUSAL_LM",
    )  # fmt: skip
    checkpointing = options.get("checkpointing", True)
    values = arguments(row, output) | {
        "gradient_checkpointing": checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
    }
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if options.get("plain"):
        return _plain(row, model, lora, values, tokenizer)
    from trl import SFTConfig, SFTTrainer

    adapted = get_peft_model(model, lora)
    if axolotl is not None:
        from axolotl.monkeypatch.lora_kernels import apply_lora_kernel_patches

        apply_lora_kernel_patches(adapted, axolotl)
    values |= {"max_length": row.length, "packing": row.mixed,
               "use_liger_kernel": bool(options.get("liger"))}  # fmt: skip
    if row.mixed:
        values["packing_strategy"] = "bfd"
    else:
        values["dataset_kwargs"] = {"skip_prepare_dataset": True}
    return SFTTrainer(
        model=adapted, args=SFTConfig(**values), train_dataset=dataset(row, text=False),
        processing_class=tokenizer,
    )  # fmt: skip


def _plain(row: Row, model: Any, lora: Any, values: dict[str, Any], tokenizer: Any) -> Any:
    """The guides' recipe, helper included."""
    from peft import get_peft_model, prepare_model_for_kbit_training
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    prepared = prepare_model_for_kbit_training(
        model, use_gradient_checkpointing=values["gradient_checkpointing"]
    )
    return Trainer(
        model=get_peft_model(prepared, lora), args=TrainingArguments(**values),
        train_dataset=dataset(row, text=False),
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
    )  # fmt: skip


def _before_axolotl(folder: Path) -> Any:
    """Axolotl's kernels alone: its callbacks, which want half a hundred packages, stay out."""
    import axolotl.utils

    callbacks = types.ModuleType("axolotl.utils.callbacks")
    callbacks.__path__ = [str(Path(axolotl.utils.__file__).parent / "callbacks")]
    sys.modules.setdefault("axolotl.utils.callbacks", callbacks)
    from axolotl.monkeypatch.lora_kernels import patch_self_attn_lora
    from axolotl.utils.dict import DictDefault

    wish = DictDefault(
        {
            "base_model": str(folder), "lora_mlp_kernel": True, "lora_qkv_kernel": True,
            "lora_o_kernel": True,
        }
    )  # fmt: skip
    patch_self_attn_lora(wish)
    return wish
