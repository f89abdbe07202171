"""The data sets and the tiny model that come along, and the run that the demo is ready to start."""

from __future__ import annotations

from pathlib import Path

from core.config.errors import FailedError
from core.config.schema import RunConfig

_MARK = "support_alpaca.jsonl"


def sample_data() -> Path:
    """The folder with the sample data: inside the installed package, else beside the packages.

    Raises FailedError when neither is there.
    """
    core = Path(__file__).resolve().parents[1]
    for folder in (core / "sample_data", core.parent / "sample_data"):
        if (folder / _MARK).is_file():
            return folder
    raise FailedError(
        "the sample data did not come along with this installation",
        kind="no_samples",
        remedies=("reinstall finetui",),
    )


def demo_config() -> RunConfig:
    """A run on the sample data and the tiny model: NF4, offline, about a minute on two cores."""
    folder = sample_data()
    return RunConfig.model_validate(
        {
            "model": {"name_or_path": str(folder / "tiny-llama")},
            "data": {
                "files": [str(folder / _MARK)],
                "eval_files": [str(folder / "support_heldout.jsonl")],
                "max_length": 64,
                "packing": False,
            },
            "adapter": {"lora_dropout": 0.0},
            "train": {
                "num_train_epochs": 3,
                "per_device_train_batch_size": 16,
                "gradient_accumulation_steps": 1,
                "learning_rate": 4e-3,
                "activation_checkpointing": False,
                "save_steps": 50,
            },
            "evaluate": {
                "eval_steps": 50,
                "per_device_eval_batch_size": 16,
                "compare_rows": 50,
                "max_new_tokens": 64,
            },
        }
    )
