"""Settings on the command line."""

from __future__ import annotations

import pytest

from core.config.errors import InputError
from core.config.schema import SECTIONS, section_fields
from tui.cli.flags import reference, split


def sort(*words: str) -> tuple[dict[str, str], list[str]]:
    return split(words, ("--detach", "--json"), ("--runs",))


def test_settings_are_told_from_the_commands_own_words() -> None:
    settings, rest = sort(
        "run.toml", "--train.learning_rate", "1e-4", "--adapter.r=8", "--detach", "--runs", "R"
    )
    assert settings == {"train.learning_rate": "1e-4", "adapter.r": "8"}
    assert rest == ["run.toml", "--detach", "--runs", "R"]


def test_a_value_may_be_negative_or_hold_an_equals_sign() -> None:
    settings, _ = sort("--train.max_steps", "-1", "--data.files=a=b.jsonl")
    assert settings == {"train.max_steps": "-1", "data.files": "a=b.jsonl"}


def test_a_switch_may_stand_alone() -> None:
    settings, rest = sort("--adapter.use_dora", "--quantization.load_in_4bit", "no", "--json")
    assert settings == {"adapter.use_dora": "yes", "quantization.load_in_4bit": "no"}
    assert rest == ["--json"]
    assert sort("--use_dora")[0] == {"use_dora": "yes"}


def test_a_list_given_several_times_grows_and_other_settings_take_the_last() -> None:
    settings, _ = sort("--data.files", "a", "--data.files", "b", "--adapter.r", "8",
                       "--adapter.r", "16", "--target_modules=q", "--target_modules=v")  # fmt: skip
    assert settings == {"data.files": "a,b", "adapter.r": "16", "target_modules": "q,v"}


@pytest.mark.parametrize("words", [["--adapter.r"], ["--adapter.r", "--detach"], ["--nonsense"]])
def test_a_setting_without_its_value_is_refused(words: list[str]) -> None:
    with pytest.raises(InputError, match="needs a value"):
        sort(*words)


def test_two_dashes_end_the_settings() -> None:
    assert sort("--adapter.r", "8", "--", "--odd.toml") == ({"adapter.r": "8"}, ["--odd.toml"])


def test_the_reference_lists_every_setting_once() -> None:
    text = reference()
    for section in SECTIONS:
        for key in section_fields(section):
            assert text.count(f"--{section}.{key} ") == 1
    assert max(map(len, text.splitlines())) <= 100
    assert "[2048]" in text
    assert "nf4|fp4" in text
