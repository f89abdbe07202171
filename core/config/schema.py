"""RunConfig: every setting of a run, with its help, unit, limits and choices on the field.

The form, the command-line flags, the TOML file, the reference page and all checks come from this
one declaration; its sections stand in modules of their own. Names are Hugging Face's own wherever
one exists.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic.fields import FieldInfo

from core.config.data import CleanConfig, DataConfig
from core.config.model import AdapterConfig, ModelConfig, QuantizationConfig
from core.config.setting import Section, setting
from core.config.training import EvaluateConfig, MemoryConfig, TrainConfig


class PlaceConfig(Section):
    """The run itself: its name, and where it lives."""

    name: Annotated[str, Field(max_length=100)] = setting(
        "", "Name of the run and of its folder. Empty: made from the model and the data.",
        common=True,
    )  # fmt: skip
    engine_host: Literal["process", "thread"] = setting(
        "process",
        "process: training outlives this screen. thread: inside this program, ends with it.",
    )
    devices: str = setting(
        "auto",
        "auto: the GPU with the most free memory; or an index or UUID; or cpu.",
    )
    max_restarts: int = setting(
        3, "How often a crashed training is started again from its last checkpoint.", ge=0, le=100
    )

    @field_validator("name")
    @classmethod
    def plain_name(cls, value: str) -> str:
        if value and (not all(c.isalnum() or c in "._-" for c in value) or value[0] in ".-"):
            raise ValueError("use letters, digits, dot, dash and underscore; start with a letter")
        return value


class RunConfig(Section):
    """All settings of one run."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    quantization: QuantizationConfig = Field(default_factory=QuantizationConfig)
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    clean: CleanConfig = Field(default_factory=CleanConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    memory: MemoryConfig = Field(default_factory=MemoryConfig)
    run: PlaceConfig = Field(default_factory=PlaceConfig)

    @property
    def effective_batch(self) -> int:
        """Sequences that one optimizer step learns from."""
        return self.train.per_device_train_batch_size * self.train.gradient_accumulation_steps


def section_fields(section: str) -> dict[str, FieldInfo]:
    """The fields of one section, in the order of the form."""
    annotation = RunConfig.model_fields[section].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, Section)
    return annotation.model_fields


SECTIONS: tuple[str, ...] = tuple(RunConfig.model_fields)
"""Section names, in the order of the form."""
