"""Configurations in and out, and what is said when they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.config import files
from core.config.errors import InputError
from core.config.schema import SECTIONS, RunConfig, section_fields


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_dump_and_load_give_the_same_configuration(tmp_path: Path) -> None:
    config = RunConfig()
    config.model.name_or_path = 'odd "name" \\ ü'
    config.data.files = ["a.jsonl", "b.jsonl"]
    config.adapter.target_modules = ["q_proj", "v_proj"]
    config.train.learning_rate = 1e-5
    assert files.load(write(tmp_path, files.dump(config))).config == config


def test_a_file_with_a_comma_in_its_name_is_one_file(tmp_path: Path) -> None:
    config, name = RunConfig(), str(tmp_path / "a,b.jsonl")
    config.data.files = name  # type: ignore[assignment]
    assert config.data.files == [str(tmp_path / "a"), "b.jsonl"]
    Path(name).touch()
    config.data.files = f" {name} "  # type: ignore[assignment]
    assert config.data.files == [name]


def test_every_field_has_help_and_a_default() -> None:
    for section in SECTIONS:
        for key, info in section_fields(section).items():
            assert info.description, f"{section}.{key}"
            assert not info.is_required(), f"{section}.{key}"


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("[train]\nlearning_rat = 1e-4\n", ["run.toml:2", "learning_rat", "learning_rate"]),
        ("[train]\n\nlearning_rate = 3\n", ["run.toml:3", "train.learning_rate", "3"]),
        ("[trian]\nseed = 1\n", ["run.toml:1", "trian", "train"]),
        ("[quantization]\nbnb_4bit_quant_type = 'nf5'\n", ["nf5", "nf4, fp4"]),
        ("[adapter]\nr = 'many'\n", ["run.toml:2", "adapter.r", "many"]),
        ("[train]\nr = 8\n", ["adapter.r"]),
        ("[quantization]\nload_in_8bit = true\n", ["load_in_4bit and load_in_8bit"]),
        ("[train]\npath = 'peft'\nfp8 = true\n", ["[train] fp8 is for the fused path", "auto"]),
        ("[data\n", ["not valid TOML"]),
        ("learning_rate = 1e-4\n", ["belongs under [train]"]),
        ("train = 3\n", ["run.toml:1", "write [train]"]),
        ("[adapter]\nr = '9x'\n", ["a whole number from 1 to 1,024"]),
        ("[quantization]\nload_in_4bit = 'maybe'\n", ["yes or no"]),
        ("[data]\nmax_length = '9x'\n", ["a whole number from 16 to 1,048,576"]),
        ("[train]\nlearning_rate = 'x'\n", ["a number above 0 to 1"]),
    ],
)
def test_errors_name_place_key_and_way_out(tmp_path: Path, text: str, fragments: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        files.load(write(tmp_path, text))
    for fragment in fragments:
        assert fragment in caught.value.message


def test_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        files.load(tmp_path / "absent.toml")


def test_old_names_are_taken_with_a_notice(tmp_path: Path) -> None:
    loaded = files.load(write(tmp_path, "[train]\nwarmup_ratio = 0.1\nmax_seq_length = 512\n"))
    assert loaded.config.train.warmup_steps == 0.1
    assert loaded.config.data.max_length == 512
    assert any(
        "max_seq_length" in notice and "data.max_length" in notice for notice in loaded.notices
    )


def test_overrides_with_and_without_section() -> None:
    loaded = files.from_overrides(
        {
            "train.learning_rate": "1e-5",
            "lora_alpha": "64",
            "data.files": "a.jsonl, b.jsonl",
            "quantization.load_in_4bit": "false",
            "data.max_train_samples": "none",
            "adapter.target_modules": '["q_proj"]',
        }
    )
    assert loaded.config.train.learning_rate == 1e-5
    assert loaded.config.adapter.lora_alpha == 64
    assert loaded.config.data.files == ["a.jsonl", "b.jsonl"]
    assert loaded.config.quantization.load_in_4bit is False
    assert loaded.config.adapter.target_modules == ["q_proj"]


def test_a_flag_that_fits_two_sections_is_refused() -> None:
    with pytest.raises(InputError, match=r"--data\.seed or --train\.seed"):
        files.from_overrides({"seed": "1"})


@pytest.mark.parametrize(
    ("section", "key", "text", "good"),
    [
        ("adapter", "r", "16", True),
        ("adapter", "r", "0", False),
        ("adapter", "r", "x", False),
        ("adapter", "target_modules", "q_proj, v_proj", True),
        ("adapter", "target_modules", "", False),
        ("train", "learning_rate", "2e-4", True),
        ("train", "learning_rate", "nan", False),
        ("train", "optim", "adamw", False),
        ("data", "max_train_samples", "", True),
        ("run", "name", "../x", False),
        ("run", "name", "-x", False),
        ("run", "name", "chat-7b", True),
    ],
)
def test_check_value_as_a_form_would(section: str, key: str, text: str, good: bool) -> None:
    assert (files.check_value(section, key, text) is None) == good


def test_a_name_that_is_not_utf8_is_refused_with_its_bytes() -> None:
    with pytest.raises(InputError, match=r"data\.overlay is a\\xff\.overlay, which is not UTF-8"):
        files.from_overrides({"data.overlay": "a\udcff.overlay"})
