"""Where the files of a model are: a local folder, or the hub's cache."""

from __future__ import annotations

from pathlib import Path

from core.config.errors import InputError


def local_folder(name_or_path: str) -> Path | None:
    """The folder that a model name means, or None when it is a hub id."""
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    looks_local = name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") > 1
    if looks_local or not name_or_path:
        what = f"there is no model folder {path}" if name_or_path else "no model is named"
        raise InputError(
            what,
            kind="no_model",
            remedies=("set model.name_or_path to a folder with config.json, or to a hub id",),
        )
    return None


def model_file(name_or_path: str, filename: str, revision: str | None = None) -> Path | None:
    """One file of a model as a local path, fetched into the hub's cache when needed.

    None when the model has no such file. Raises InputError when the model cannot be reached.
    """
    folder = local_folder(name_or_path)
    if folder is not None:
        path = folder / filename
        return path if path.is_file() else None
    # huggingface_hub takes a tenth of a second to import: only hub models pay for it.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(hf_hub_download(name_or_path, filename, revision=revision))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"the hub cannot be reached for {name_or_path}, and it is not in the cache",
            kind="hub_unreachable",
            remedies=(
                "check the network, or set HF_ENDPOINT to a mirror",
                "or give a local folder as model.name_or_path",
            ),
        ) from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(
            f"the hub has no model {name_or_path!r} that you may read: {error}".splitlines()[0],
            kind="no_model",
            remedies=("check the name", "for gated models log in with hf auth login"),
        ) from error
