"""The Markdown table of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Made = Callable[..., dict[str, Any]]


def test_ratios_are_to_the_best_variant_of_unsloth(modules: Any, made: Made) -> None:
    results = [
        made("finetui", 15000, 6.0), made("unsloth", 9000, 7.0), made("trl", 30000, 7.0),
        made("unsloth-padded", 10000, 8.0), made("finetui", 14000, 6.0),
        {"row": "8b-2x2048", "entrant": "axolotl", "outcome": "failed", "error": "a | b"},
    ]  # fmt: skip
    lines = modules["table"].markdown(results).splitlines()
    ours = next(line for line in lines if "| finetui |" in line)
    assert "14,500 (14,000-15,000) | 1.45 | 6.00 | 0.75" in ours
    assert any("failed: a / b" in line for line in lines)
    assert "Card: H100." in lines


def test_what_was_changed_or_noted_sets_a_measurement_apart(modules: Any, made: Made) -> None:
    results = [
        made("finetui", 15000, 6.0, versions={"transformers": "5.17.0"}),
        made("unsloth", 10000, 8.0, set=[]),
        made("finetui", 12000, 6.0, note="the version before"),
        made("finetui", 11000, 6.0, set=["train.path=peft"]),
        made("finetui", 20000, 6.0, changes={"random_base": True, "length": 2048},
               versions={"transformers": "5.23.0"}),
    ]  # fmt: skip
    table = modules["table"].markdown(results)
    what = "| Llama-3.1-8B, 2 x 2048"
    assert f"{what} | finetui | 15,000 | 1.50 |" in table
    assert f"{what} | finetui (the version before) | 12,000 | 1.20 |" in table
    assert f"{what} | finetui (train.path=peft) | 11,000 | 1.10 |" in table
    assert f"{what}, random_base True | finetui | 20,000 |  |" in table
    assert "transformers 5.17.0 and 5.23.0" in table


def test_what_was_measured_is_shown_where_a_figure_is_missing(modules: Any, made: Made) -> None:
    bare = {"row": "8b-2x2048", "entrant": "trl", "outcome": "measured"}
    lines = modules["table"].markdown([bare]).splitlines()
    assert lines[2] == "| Llama-3.1-8B, 2 x 2048 | trl |  |  |  |  |  |  |  |"


def test_what_is_not_known_any_more_is_named_below(modules: Any, made: Made) -> None:
    old = made("finetui", 1, 1) | {"row": "7b-old", "card": "A100"}
    table = modules["table"].markdown([old, made("trl", 2, 1, changes={"gone": 3})])
    assert "Left out, of workloads that are not known: 7b-old." in table.splitlines()
    assert "| Llama-3.1-8B, 2 x 2048, gone 3 | trl | 2 |" in table
    assert "A100" not in table


def test_lines_of_earlier_versions_have_no_settings(modules: Any, made: Made) -> None:
    old = made("trl", 2, 1, set=None, changes=None, versions=None)
    assert "| Llama-3.1-8B, 2 x 2048 | trl | 2 |" in modules["table"].markdown([old])
