"""What is said about data: figures that are counted, and sentences that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import CHATML, ModelMaker

from core.config.schema import RunConfig
from core.data.blocks import Sample
from core.data.facts import facts_of, sequences_of, steps_of, timed
from core.data.inspect import Report, inspect
from core.data.overlay import Overlay
from core.data.read.sources import read_rows
from core.data.stats import histogram, spread
from core.data.survey import survey
from core.data.tokens.codec import ChatCodec
from core.data.variety import distinct_ratio, variety_of
from core.record.pace import Pace


def look(path: Path, codec: ChatCodec | None = None, **data: Any) -> Report:
    values = {"files": [str(path)], "max_length": 64} | data
    return inspect(RunConfig.model_validate({"data": values}), codec)


def said(report: Report) -> str:
    return "\n".join(f"{finding.level}: {finding.text}" for finding in report.verdict)


def row(number: int, prompt: str = "", answer: str = "A clear answer to it.") -> dict[str, str]:
    return {"prompt": prompt or f"Word{number * 7} asks what {number} is", "completion": answer}


def test_few_rows_are_told_what_that_means(write_lines: Callable[..., Path]) -> None:
    text = said(look(write_lines(*[row(n) for n in range(20)])))
    assert "warning: 20 rows are few: they will be learned by heart" in text
    assert "500 clean ones beat 5,000 noisy ones" in text
    assert "note: every row is one question and one answer" in text


def test_enough_good_rows_are_called_so(write_lines: Callable[..., Path]) -> None:
    report = look(write_lines(*[row(n) for n in range(1100)]))
    assert "good: 1,100 rows are enough for an adapter" in said(report)
    assert "warning" not in said(report)


def test_repetitions_and_broken_rows_have_their_shares_told(
    write_lines: Callable[..., Path],
) -> None:
    text = said(look(write_lines(*[row(n) for n in range(10)], row(1), b"{", b"[", b"{")))
    assert "3 of 14 rows (21%) cannot be used, most for not_json" in text
    assert "1 of 14 rows (7%) repeats another one and is left out" in text


def test_rows_that_a_person_dropped_say_nothing_of_the_file(
    write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_lines(*[row(n) for n in range(10)])
    overlay = Overlay(tmp_path / "rows.overlay")
    overlay.drop(*list(read_rows([str(path)]))[:4])
    assert "cannot be used" not in said(look(path, overlay=str(overlay.path)))


def test_short_answers_and_prompts_of_one_form_are_noticed(
    write_lines: Callable[..., Path],
) -> None:
    rows = [row(n, f"Tell me about the number {n}", "No.") for n in range(60)]
    text = said(look(write_lines(*rows)))
    assert "60 rows (100%) answer in fewer than 10 characters" in text
    assert "100% of the prompts begin with “tell me about”" in text


def test_one_long_answer_is_told_in_the_singular(write_lines: Callable[..., Path]) -> None:
    rows = [row(n) for n in range(11)] + [row(11, answer="A long answer. " * 400)]
    assert "1 row (8%) has an answer of more than 4,096 characters" in said(
        look(write_lines(*rows))
    )


def test_what_a_cut_costs_is_said(write_lines: Callable[..., Path], make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    rows = [row(n, "q", "x " * (5 if n % 2 else 200)) for n in range(10)]
    rows = [r | {"prompt": f"q{n}"} for n, r in enumerate(rows)]
    report = look(write_lines(*rows), codec)
    assert "warning: 5 of 10 rows are cut at 64 tokens and do not learn to stop" in said(report)
    assert f"({report.survey.forecast.proposed:,} leaves nearly all whole)" in said(report)
    assert report.facts["training"]["steps_an_epoch"] == 1
    assert report.facts["tokens"]["max"] > 64


def test_raw_texts_count_for_no_length(
    write_lines: Callable[..., Path], make_model: ModelMaker
) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    rows = [{"prompt": f"q{n}", "completion": "word " * (5 if n % 2 else 40)} for n in range(10)]
    texts = [{"text": f"{n} " + "a long text " * 500} for n in range(10)]
    report = look(write_lines(*rows, *texts), codec)
    assert report.survey.forecast.proposed < 500
    (cut,) = [f.text for f in report.verdict if "cut at 64" in f.text]
    assert f"raise data.max_length ({report.survey.forecast.proposed:,} leaves" in cut


def test_nothing_to_learn_is_the_only_finding(write_lines: Callable[..., Path]) -> None:
    assert [f.level for f in look(write_lines(b"{")).verdict] == ["warning"]


def test_figures_are_counted(write_lines: Callable[..., Path]) -> None:
    chats = [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
                      {"role": "assistant", "content": "a" * n}]}
        for n in range(1, 6)
    ]  # fmt: skip
    config = RunConfig.model_validate({"data": {"files": [str(write_lines(*chats, row(1)))]}})
    facts = facts_of(survey(config))
    assert facts["rows"] == 6
    assert facts["roles"] == {"user": 6, "assistant": 6, "system": 5}
    assert facts["orders"] == {"system-user-assistant": 5, "user-assistant": 1}
    assert facts["turns"] == {"min": 2, "median": 3, "p95": 3, "max": 3}
    assert facts["answer_chars"]["max"] == 21
    assert sum(facts["answer_chars"]["histogram"]["counts"]) == 6
    assert facts["training"]["train_rows"] == 5
    assert facts["training"]["seconds"] is None
    assert facts["training"]["tokens_an_epoch"] is None


def test_time_is_told_from_a_measured_pace_or_not_at_all() -> None:
    training = {"tokens_an_epoch": 50_000, "steps_an_epoch": 10, "steps": 25}
    pace = Pace(run="before", device="GPU", tokens_per_second=1000.0, steps=40)
    told = timed(training, pace)
    assert told["seconds"] == 125.0
    assert told["measured"]["run"] == "before"
    for unknown in (timed(training, None), timed(training | {"tokens_an_epoch": None}, pace)):
        assert unknown["seconds"] is unknown["measured"] is None


def test_steps_are_counted_as_the_trainer_counts_them() -> None:
    config = RunConfig()
    config.train.per_device_train_batch_size, config.train.gradient_accumulation_steps = 2, 8
    config.train.num_train_epochs = 2.5
    assert steps_of(33, config) == {"steps_an_epoch": 3, "steps": 8}
    config.train.max_steps = 5
    assert steps_of(33, config)["steps"] == 5
    assert steps_of(None, config) == {"steps_an_epoch": None, "steps": None}


def test_sequences_are_packed_or_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig()
    config.data.max_length = 100
    lengths = np.array([60, 50, 40, 50])
    assert sequences_of(lengths, config, True) == (2, True)
    assert sequences_of(lengths, config, False) == (None, False)
    monkeypatch.setattr("core.data.facts.PACKED_ROWS", 2)
    assert sequences_of(lengths, config, True) == (2, False)
    config.data.packing = False
    assert sequences_of(lengths, config, False) == (4, True)


def test_a_long_raw_text_is_several_sequences() -> None:
    config = RunConfig()
    config.data.max_length = 100
    lengths = np.array([250, 201, 100, 40])  # 100 100 50, 100 99 2, 100, 40
    assert sequences_of(lengths, config, True, texts=True) == (6, True)
    config.data.packing = False
    assert sequences_of(lengths, config, True, texts=True) == (8, True)
    assert sequences_of(lengths * 0, config, False, texts=True) == (None, False)


def test_variety_of_a_sample() -> None:
    english = "The weather is nice today, and we are going for a long walk in the park."
    german = "Das Wetter ist heute schön, und wir gehen lange im Park spazieren."
    sample = [Sample(n, "Write me a story", english if n % 2 else german) for n in range(10)]
    found = variety_of(sample)
    assert found["beginnings"]["top"] == {"write me a": 10}
    assert found["languages"]["counts"] == {"de": 5, "en": 5}
    assert found["distinct_word_groups"]["3"] < 0.3
    assert distinct_ratio(["a b c d"], 2) == 1
    assert distinct_ratio(["a"], 2) is None


def test_spread_and_histogram() -> None:
    values = np.array([0, 1, 2, 3, 4, 9])
    assert spread(values) == {"min": 0, "median": 2.5, "p95": 9, "max": 9}
    assert spread(values[:0]) is None
    assert histogram(values) == {"edges": [0, 1, 2, 4, 8, 16], "counts": [1, 1, 2, 1, 1]}
    assert histogram(values[:0])["counts"] == [0]


def test_several_formats_and_rows_in_two_of_them_are_told(write_lines: Callable[..., Path]) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    both = {"messages": turns, "instruction": "x", "output": "y"}
    report = look(write_lines(*[row(n) for n in range(3)], both))
    assert "note: the rows are of several formats, each read as its own: 3 rows of prompt_comp" in (
        said(report)
    )
    assert report.formats_in_words == "prompt_completion in 3 rows, messages in 1 row"
    assert "warning: 1 row has turns and another question with its answer as well" in said(report)


def test_a_file_read_in_doubt_is_told_with_words_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    text = '{"prompt": "Ki jött haza?", "completion": "Ő tegnap este későn jött haza."}'
    path.write_bytes(text.encode("cp1250"))
    assert "warning: rows.jsonl was read as Latin-1 (Windows-1252), and may be in another" in (
        said(look(path))
    )


@pytest.mark.parametrize(
    ("clean", "words"),
    [
        ({"max_tokens": 5}, "clean.max_tokens did nothing here"),
        ({"max_tokens": 5, "min_answer_tokens": 1},
         "clean.min_answer_tokens and clean.max_tokens did nothing here"),
        ({"max_chars": 500}, ""),
    ],
)  # fmt: skip
def test_rules_on_tokens_without_a_model_are_said_to_do_nothing(
    clean: dict[str, Any], words: str, write_lines: Callable[..., Path]
) -> None:
    data = {"files": [str(write_lines(row(1)))]}
    text = said(inspect(RunConfig.model_validate({"data": data, "clean": clean})))
    assert ("did nothing here" in text) == bool(words)
    assert words in text
