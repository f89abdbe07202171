"""The demo's configuration and where its files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import samples
from core.config.errors import FailedError


def test_the_demo_names_files_that_are_there() -> None:
    config = samples.demo_config()
    for name in (*config.data.files, *config.data.eval_files):
        assert Path(name).is_file()
    assert (Path(config.model.name_or_path) / "config.json").is_file()
    assert config.quantization.label == "NF4"


def test_an_installed_package_has_its_own_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = tmp_path / "site-packages" / "core"
    for folder in (core / "sample_data", core.parent / "sample_data"):
        folder.mkdir(parents=True)
        (folder / "support_alpaca.jsonl").touch()
    monkeypatch.setattr(samples, "__file__", str(core / "config" / "samples.py"))
    assert samples.sample_data() == core / "sample_data"


def test_missing_samples_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "__file__", str(tmp_path / "core" / "config" / "samples.py"))
    with pytest.raises(FailedError, match="did not come along"):
        samples.sample_data()
