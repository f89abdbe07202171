"""A look at a model of which nothing is loaded: its shape, and what a run would object to it."""

from __future__ import annotations

from dataclasses import dataclass

from core.config.errors import FinetuiError
from core.model.shapes import ModelShape, check_target_modules, configured, shape_of


@dataclass(frozen=True)
class Look:
    """What was seen; for all that is asked of the model, so that it is read once."""

    shape: ModelShape | None
    """From config.json alone where that is all there is of the model."""
    objection: FinetuiError | None = None
    """What a run would say of the model; None: nothing."""
    unknown: FinetuiError | None = None
    """Why there is no shape."""

    def known(self) -> ModelShape:
        """The shape. Raises FinetuiError where there is none."""
        if self.shape is None:
            assert self.unknown is not None
            raise self.unknown
        return self.shape

    def objections(self, targets: str | list[str]) -> tuple[str | None, str | None]:
        """What a run would object to the model, and to the layers that get adapters."""
        found = self.objection
        # Offline is no mistake of the settings: the run itself will say so.
        wrong = None if found is None or found.kind == "hub_unreachable" else found.message
        return wrong, check_target_modules(targets, self.shape) if self.shape else None


def look_at(name_or_path: str, revision: str | None = None) -> Look:
    """Read a model's files, or ask the hub for them; what is wrong with it is in the answer."""
    try:
        return Look(shape_of(name_or_path, revision))
    except FinetuiError as error:
        if error.kind != "no_weights":
            return Look(None, error, error)
        objection = error
    try:
        return Look(configured(name_or_path, revision), objection)
    except FinetuiError as error:
        return Look(None, objection, error)
