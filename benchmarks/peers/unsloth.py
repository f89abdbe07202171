"""Unsloth's FastLanguageModel on the same folder, data and trainer arguments. Needs a GPU."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from peers import weights
from peers.shapes import SEED, TARGETS, Row


def run(row: Row, options: dict[str, Any], models: Path) -> dict[str, Any]:
    """Train as the row says; the figures."""
    if "padding" in options:
        os.environ["UNSLOTH_PADDING_CHOICE"] = options["padding"]  # read when its trainer is made
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    # Unsloth wants to be imported before all that it patches.
    import unsloth  # noqa: F401, I001
    from unsloth import FastLanguageModel

    import torch
    from trl import SFTConfig, SFTTrainer

    from peers.hugging_face import arguments, dataset
    from peers.meter import Meter, adapter_dtype, losses, trained_millions

    meter = Meter(row)
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(weights.folder_of(row.model, models)), max_seq_length=row.length,
        dtype=torch.bfloat16, load_in_4bit=True,
    )  # fmt: skip
    checkpointing = options.get("checkpointing", True)
    model = FastLanguageModel.get_peft_model(
        model, r=row.rank, lora_alpha=row.rank, lora_dropout=row.dropout, bias="none",
        target_modules=list(TARGETS), random_state=SEED, max_seq_length=row.length,
        use_gradient_checkpointing="unsloth" if checkpointing else False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        values = arguments(row, Path(place)) | {"max_length": row.length, "packing": row.mixed}
        if not checkpointing:
            values["gradient_checkpointing"] = False
        # Given text it joins rows without padding; given ids it pads them.
        text = row.as_text
        trainer = SFTTrainer(
            model=model, processing_class=tokenizer, args=SFTConfig(**values),
            train_dataset=dataset(row, text=text),
        )  # fmt: skip
        trainer.data_collator = meter.count(trainer.data_collator)
        trainer.add_callback(meter)
        trainer.train()
    return meter.figures() | {
        "adapter_dtype": adapter_dtype(trainer.model),
        "trained_millions": trained_millions(trainer.model),
        "losses": losses(trainer.state.log_history),
    }
