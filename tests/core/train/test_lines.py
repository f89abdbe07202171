from __future__ import annotations

import logging
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.record.folder import RunFolder
from core.train.lines import library_lines


def test_libraries_talk_to_the_job_and_only_while_it_lasts(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said: list[tuple[str, str]] = []
    folder = RunFolder(tmp_path)
    job = SimpleNamespace(log=lambda text, level: said.append((level, text)), folder=folder)
    show, handlers = warnings.showwarning, logging.getLogger("transformers").handlers
    with library_lines(job), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.simplefilter("always")
        logging.getLogger("transformers.trainer").warning("low  on\nmemory %d", 3)
        logging.getLogger("transformers.trainer").warning("low on memory 3")
        logging.getLogger("peft").error("broken")
        logging.getLogger("trl").info("chatter")
        warnings.warn("odd rows", UserWarning, stacklevel=1)
        warnings.warn("gone in v6", FutureWarning, stacklevel=1)
    assert said == [
        ("warning", "low on memory 3"),
        ("error", "broken"),
        ("warning", "odd rows"),
    ]
    assert warnings.showwarning is show
    assert logging.getLogger("transformers").handlers == handlers
    assert capfd.readouterr() == ("", "")
    assert folder.worker_log.read_text() == "FutureWarning: gone in v6\n"
