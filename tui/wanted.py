"""What the data pane is asked to show, in values that can be compared with what it shows."""

from __future__ import annotations

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.data.read.hub.dataset import named
from core.data.read.hub.sample import Sampling


def data_key(config: RunConfig) -> tuple[object, ...]:
    """What makes it other rows."""
    data = config.data
    sampling = Sampling.of(config) if any(map(_of_a_hub, data.files)) else None
    return tuple(data.files), data.format, data.overlay, sampling


def survey_key(config: RunConfig) -> str:
    """What makes it another survey of the same rows. Decisions are taken into the one there is."""
    return config.data.model_dump_json(exclude={"overlay"}) + config.clean.model_dump_json()


def _of_a_hub(name: str) -> bool:
    try:
        return named(name) is not None
    except InputError:
        return False  # whoever opens it says what is wrong
