"""The forecast says for every length what a cut there does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from chat_templates import CHATML, ModelMaker
from hypothesis import given
from hypothesis import strategies as st

from core.config.data import LONGEST
from core.config.schema import RunConfig
from core.data.chats.chat import Chat, Defect
from core.data.survey import survey
from core.data.tokens.codec import ChatCodec, Encoded
from core.data.tokens.forecast import Lengths


def talks(lengths: list[list[int]]) -> list[Chat]:
    return [
        [
            {"role": role, "content": "é" * count}
            for count in turns
            for role in ("user", "assistant")
        ]
        for turns in lengths
    ]


def test_it_says_what_encoding_then_does(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    chats = talks([[3], [9, 2], [1, 1, 1], [40], [5, 30]])
    whole = [row for row in codec.encode_many(chats) if isinstance(row, Encoded)]
    lengths = Lengths()
    for row in whole:
        lengths.add(row)
    forecast = lengths.forecast()
    assert forecast.at(10**6) == type(forecast.at(1))(10**6, 0, 0, 0, 0)
    for length in range(1, 200):
        rows = codec.encode_many(chats, length)
        cut = forecast.at(length)
        kept = [row for row in rows if isinstance(row, Encoded)]
        lost = [row for row in rows if isinstance(row, Defect)]
        assert {row.reason for row in lost} <= {"answer_cut_off"}
        assert cut.rows_lost == len(lost)
        assert cut.rows_cut == len(lost) + sum(row.truncated for row in kept)
        left = sum(row.loss_tokens for row in kept)
        assert cut.answer_tokens_cut == forecast.answer_tokens - left
        assert cut.tokens_cut == sum(max(0, row.full_length - length) for row in whole)


@given(lengths=st.lists(st.integers(1, 900), min_size=1, max_size=300))
def test_the_proposed_length_leaves_nearly_all_whole(lengths: list[int]) -> None:
    collected = Lengths()
    for length in lengths:
        collected.add(Encoded("", length, length, ((0, length),), True, None))  # type: ignore[arg-type]
    forecast = collected.forecast()
    proposed = forecast.proposed
    assert proposed % 64 == 0
    cut = forecast.at(proposed)
    assert cut.rows_cut <= len(lengths) / 100
    assert cut.answer_tokens_cut <= sum(lengths) / 100
    if proposed > 64:
        shorter = forecast.at(proposed - 64)
        assert (
            shorter.rows_cut > len(lengths) // 100
            or shorter.answer_tokens_cut > sum(lengths) // 100
        )
    assert forecast.table[-1].rows_cut == 0
    half = collected.forecast(np.arange(len(lengths)) % 2 == 0)
    assert (half.rows, half.tokens) == (len(lengths[::2]), sum(lengths[::2]))
    assert forecast.as_dict()["proposed_max_length"] == proposed


def test_no_length_is_proposed_that_no_setting_takes() -> None:
    collected = Lengths()
    collected.add(Encoded("", 3 << 20, 3 << 20, ((0, 3 << 20),), True, None))  # type: ignore[arg-type]
    assert collected.forecast().proposed == LONGEST


def test_raw_text_is_never_cut(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    row = codec.encode([{"role": "text", "content": "long " * 99}], 16)
    assert isinstance(row, Encoded)
    lengths = Lengths()
    lengths.add(row)
    forecast = lengths.forecast()
    assert (forecast.rows, forecast.proposed) == (0, 64)
    assert forecast.table[-1].rows_cut == 0


def test_a_survey_counts_kept_rows_and_those_that_are_cut_away_now(
    make_model: ModelMaker, write_lines: Callable[..., Path]
) -> None:
    rows = [{"prompt": f"q{n}", "completion": "é" * n} for n in (4, 4, 9, 30)]
    far = {"prompt": "é" * 40, "completion": "a"}
    path = write_lines(*rows, rows[2], b"{broken", far)
    config = RunConfig.model_validate({
        "model": {"name_or_path": str(make_model(CHATML))},
        "data": {"files": [str(path)], "max_length": 40},
    })  # fmt: skip
    codec = ChatCodec.of(config)
    found = survey(config, codec)
    assert set(found.tally.rejected) == {"duplicate", "not_json", "answer_cut_off"}
    forecast = found.forecast
    assert forecast.rows == 4
    assert (forecast.at(40).rows_lost, forecast.at(40).rows_cut) == (1, 2)
    assert forecast.at(forecast.longest).rows_cut == 0
    assert survey(config).forecast.rows == 0
