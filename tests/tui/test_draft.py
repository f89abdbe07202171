"""Texts of the form: round trip, checks, cross-checks."""

from __future__ import annotations

import pytest

from core.config.errors import InputError
from core.config.schema import RunConfig
from tui.draft import Draft, text_of


def test_texts_mean_the_configuration_they_came_from() -> None:
    config = RunConfig.model_validate(
        {
            "data": {"files": ["a.jsonl", "odd, name.jsonl"]},
            "train": {"learning_rate": 3.3333333e-5, "weight_decay": 0.1},
            "adapter": {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
        }
    )
    assert Draft(config).config() == config


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "yes"), (2e-4, "2e-4"), (0.05, "0.05"), (["a", "b"], "a, b"), (16, "16")],
)
def test_values_as_a_person_writes_them(value: object, text: str) -> None:
    assert text_of(value) == text


def test_a_wrong_text_is_named_and_does_not_spread() -> None:
    draft = Draft(RunConfig())
    draft.set(("train", "learning_rate"), "fast")
    assert draft.error(("train", "learning_rate"))
    assert draft.error(("adapter", "r")) is None
    assert draft.last_good().train.learning_rate == RunConfig().train.learning_rate
    with pytest.raises(InputError, match=r"train\.learning_rate"):
        draft.config()
    draft.reset(("train", "learning_rate"))
    assert draft.config() == RunConfig()


def test_settings_that_exclude_each_other_both_say_so() -> None:
    draft = Draft(RunConfig())
    draft.set(("quantization", "load_in_8bit"), "yes")
    assert set(draft.errors()) == {
        ("quantization", "load_in_4bit"),
        ("quantization", "load_in_8bit"),
    }
    draft.set(("quantization", "load_in_4bit"), "no")
    assert not draft.errors()
    draft.set(("train", "fp8"), "yes")
    assert not draft.errors()
    draft.set(("train", "path"), "peft")
    assert set(draft.errors()) == {("train", "path"), ("train", "fp8")}


def test_settings_that_exclude_each_other_do_not_stand_beside_a_wrong_one() -> None:
    draft = Draft(RunConfig())
    draft.set(("quantization", "load_in_8bit"), "yes")
    draft.set(("adapter", "r"), "0")
    both = (("quantization", "load_in_4bit"), ("quantization", "load_in_8bit"))
    assert draft.meaningless() == (*both, ("adapter", "r"))
    assert draft.last_good() == RunConfig()


def test_what_a_model_objects_to_still_means_something() -> None:
    draft = Draft(RunConfig())
    draft.set(("model", "name_or_path"), "a/model")
    draft.object_to(("model", "name_or_path"), "holds no weights")
    assert draft.errors()
    assert draft.meaningless() == ()
    assert draft.last_good().model.name_or_path == "a/model"


def test_an_objection_from_outside_goes_with_the_text() -> None:
    draft = Draft(RunConfig())
    draft.object_to(("adapter", "target_modules"), "not in this model")
    assert draft.errors()
    draft.set(("adapter", "target_modules"), "q_proj")
    assert not draft.errors()
