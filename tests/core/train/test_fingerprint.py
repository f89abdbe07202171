from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from core.config.errors import RefusedError
from core.config.schema import RunConfig
from core.record.folder import RunFolder
from core.train import fingerprint


@pytest.fixture
def config(tiny_model: Path) -> RunConfig:
    made = RunConfig()
    made.model.name_or_path = str(tiny_model)
    return made


def test_it_is_the_same_each_time_and_survives_the_disk(config: RunConfig, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert fingerprint.load(folder) is None
    taken = fingerprint.take(config, "abc", "cpu")
    fingerprint.save(folder, taken)
    assert fingerprint.load(folder) == taken == fingerprint.take(config, "abc", "cpu")
    assert fingerprint.check(taken, taken) == ((), ())
    assert folder.fingerprint.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("package", ["finetui", "triton"])
def test_whose_kernels_may_be_others_is_no_exact_resume(
    config: RunConfig, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fingerprint.take(config, "abc", "cpu")
    known = fingerprint._version
    monkeypatch.setattr(
        fingerprint, "_version", lambda name: "9.9" if name == package else known(name)
    )
    reasons, _ = fingerprint.check(old, fingerprint.take(config, "abc", "cpu"))
    assert [reason.split()[0] for reason in map(str, reasons)] == [package]


def test_every_setting_is_either_held_free_or_about_the_place(config: RunConfig) -> None:
    taken = fingerprint.take(config, "abc", "cpu")
    count = sum(len(v) for k, v in config.model_dump().items() if k != "run")
    assert len(taken["config"]) + len(taken["free"]) == count
    assert not any(name.startswith("run.") for name in taken["config"] | taken["free"])


def test_what_differs_is_named_with_both_values(config: RunConfig) -> None:
    old = fingerprint.take(config, "abc", "cpu")
    config.train.learning_rate = 5e-5
    config.adapter.r = 8
    with pytest.raises(RefusedError) as caught:
        fingerprint.check(old, fingerprint.take(config, "def", "cpu"))
    for part in ("data: sha256 was abc, is now def", "adapter.r was 16, is now 8",
                 "train.learning_rate was 0.0002, is now 5e-05"):  # fmt: skip
        assert part in caught.value.message
    assert caught.value.exit_code == 3


def test_a_run_from_before_a_setting_goes_on_as_it_was(config: RunConfig) -> None:
    old = fingerprint.take(config, "abc", "cpu")
    del old["config"]["train.fp8"]
    assert fingerprint.check(old, fingerprint.take(config, "abc", "cpu")) == ((), ())
    config.train.fp8 = True
    with pytest.raises(RefusedError, match=r"train\.fp8 was False, is now True"):
        fingerprint.check(old, fingerprint.take(config, "abc", "cpu"))


def test_a_tokenizer_or_template_change_is_another_base(
    config: RunConfig, tiny_model: Path, tmp_path: Path
) -> None:
    old = fingerprint.base_of(str(tiny_model), None)
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    assert fingerprint.base_of(str(model), None) == old
    (model / "chat_template.jinja").write_text("{{ messages }}")
    changed = fingerprint.differences(old, fingerprint.base_of(str(model), None))
    assert [difference.name for difference in changed] == ["chat_template.jinja"]


def test_large_weights_are_sampled_and_the_label_says_so(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(fingerprint, "_SAMPLE_BYTES", 64)
    monkeypatch.setattr(fingerprint, "_STRIDE_BYTES", 4096)
    assert "weights (sampled)" in fingerprint.base_of(str(tiny_model), None)
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(10_000))
    before = fingerprint.sample_of(file)
    content = bytearray(file.read_bytes())
    content[4096] ^= 1
    file.write_bytes(content)
    assert fingerprint.sample_of(file) != before
    file.write_bytes(content + b"x")
    assert fingerprint.sample_of(file) != before


def test_a_broken_fingerprint_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for text in ("", "{", "[]", '{"base": 1}'):
        folder.fingerprint.write_text(text)
        with pytest.raises(RefusedError, match="cannot be read"):
            fingerprint.load(folder)
