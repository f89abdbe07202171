"""Where the files of a model are: a local folder, or the hub's cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from core.config.errors import InputError
from core.config.names import nearest_path

_AGAIN_SECONDS = 1.0
"""After this a hub that did not answer is asked once more."""


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
            remedies=(
                *_nearest_model(name_or_path),
                "set model.name_or_path to a folder with config.json, or to a hub id",
            ),
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
        if _is_known_to_lack(name_or_path, filename, revision):
            return None
        return Path(hf_hub_download(name_or_path, filename, revision=revision))
    except (LocalEntryNotFoundError, ConnectionError) as error:
        raise InputError(
            f"the hub cannot be reached for {name_or_path}, and it is not in the cache",
            kind="hub_unreachable",
            remedies=(
                *_nearest_model(name_or_path),
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
            remedies=(
                *_nearest_model(name_or_path),
                "check the name",
                "for gated models log in with hf auth login",
            ),
        ) from error


def _is_known_to_lack(name: str, filename: str, revision: str | None) -> bool:
    """Whether the hub cannot be asked for a file of which the cache knows that there is none.

    Raises ConnectionError where the cache does not know the file at all: the hub's client would
    try for 24 seconds, with a line to the terminal for each time.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.file_download import get_hf_file_metadata, hf_hub_url

    cached = try_to_load_from_cache(name, filename, revision=revision)
    if isinstance(cached, str):
        return False
    url = hf_hub_url(name, filename, revision=revision)
    failure = _transport_error(lambda: get_hf_file_metadata(url))
    if failure is not None and type(failure).__name__ == "ConnectError":  # at once, and may pass
        time.sleep(_AGAIN_SECONDS)
        failure = _transport_error(lambda: get_hf_file_metadata(url))
    if failure is None:
        return False
    if cached is not None:
        return True
    raise ConnectionError(str(failure)) from failure


def _transport_error(ask: Callable[[], object]) -> Exception | None:
    """Why no answer came; None where the hub answered, whatever it said."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        ask()
    except OfflineModeIsEnabled as error:
        return error
    except HfHubHTTPError:
        return None  # the download meets it again, and it is told there
    except Exception as error:
        if is_transport(error):
            return error
        raise
    return None


def is_transport(error: Exception) -> bool:
    """Whether no answer came: the hub's client lets its transport's own errors through."""
    own = type(error).__module__.startswith(("httpx", "httpcore", "requests"))
    return own or isinstance(error, OSError)


def _nearest_model(name: str) -> tuple[str, ...]:
    close = nearest_path(name, holding="config.json") if name else None
    return (f"did you mean the folder {close}?",) if close else ()
