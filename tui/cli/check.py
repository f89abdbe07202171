"""What can be known to be wrong with a run before it begins, without torch."""

from __future__ import annotations

from pathlib import Path

from core.config import files
from core.config.errors import InputError
from core.config.schema import RunConfig
from core.data.overlay import require
from core.data.read.hub.dataset import named
from core.data.read.paths import expand
from core.data.read.sources import check_name
from core.model.fits import check_start
from core.model.look import Look
from core.model.shapes import check_target_modules, shape_of, unknown_targets
from core.monitor import devices
from tui.cli.output import Output
from tui.cli.parser import Asked


def configuration(asked: Asked) -> RunConfig:
    """The configuration that a command line means; says what was taken under another name.

    Raises InputError for an unreadable file and for unknown or wrong settings.
    """
    path = asked.options.config
    loaded = (
        files.load(Path(path), asked.settings) if path else files.from_overrides(asked.settings)
    )
    for notice in loaded.notices:
        asked.out.note(notice, "yellow")
    return loaded.config


def check(config: RunConfig, *, trains: bool = True) -> None:
    """Refuse a run that cannot work: no model, no data, layers or a device that are not there.

    Where it ``trains``, also one whose training is known to be refused on this machine. Raises
    InputError; nothing was made or started then.
    """
    if not config.model.name_or_path:
        raise InputError(
            "no model is named",
            kind="no_model",
            remedies=("set model.name_or_path to a model folder or a hub id",),
        )
    shape = shape_of(config.model.name_or_path, config.model.revision)
    problem = check_target_modules(config.adapter.target_modules, shape)
    if problem:
        raise unknown_targets(problem)
    check_data(config)
    devices.pick(config.run.devices)
    if trains:
        check_start(config, Look(shape))


def tell_decisions(config: RunConfig, out: Output) -> None:
    """Say which decisions by hand lie beside the data and are not taken: no settings name them."""
    from core.data.overlays import near

    if config.data.overlay is not None:
        return
    local = [name for name in config.data.files if named(name) is None]
    for one in near([str(path) for path in expand(local)] if local else []):
        what = one.problem or f"{one.path} has {one.words} by hand; data.overlay would name it"
        out.note(f"not taken: {what}", "yellow")


def check_data(config: RunConfig) -> None:
    """Refuse data files, or an overlay, that are not named, not there, or cannot be read."""
    if not config.data.files:
        raise InputError(
            "no training data is named",
            kind="no_data",
            remedies=("set data.files to files, folders or a data set of the hub",),
        )
    for name in (*config.data.files, *config.data.eval_files):
        check_name(name)
    require(config.data.overlay)
