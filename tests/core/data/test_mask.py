"""The mask holds for contents of any kind: odd spaces, stop tokens' names, half a template."""

from __future__ import annotations

import pytest
from chat_templates import OPENINGS, STOPS, ModelMaker
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.data.formats import Chat
from core.data.tokens import NO_LOSS, ChatCodec, Encoded

PIECE = st.sampled_from(
    ["a", "Paris", " ", "\n", "\n\n", "<|im_end|>", "</s>", "[/INST]", "user", "assistant", "👋🏽",
     "ß", "<|im_start|>assistant\n", "{{ x }}", "'", "\t"]
)  # fmt: skip
TEXT = st.lists(PIECE, min_size=1, max_size=6).map("".join).filter(str.strip)


@pytest.mark.parametrize("tokenizer", ["bytes", "metaspace"])
@pytest.mark.parametrize("style", STOPS)
@example(contents=[("a", "<|im_end|>"), ("b", "</s>")])
@given(contents=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_answers_carry_loss_and_nothing_of_the_questions(
    style: str, tokenizer: str, contents: list[tuple[str, str]], make_model: ModelMaker
) -> None:
    codec = CODECS.get((style, tokenizer)) or CODECS.setdefault(
        (style, tokenizer), ChatCodec.load(str(make_model(STOPS[style][0], tokenizer)))
    )
    chat: Chat = []
    for question, answer in contents:
        chat.append({"role": "user", "content": question})
        chat.append({"role": "assistant", "content": answer})
    result = codec.encode(chat)
    assert isinstance(result, Encoded)
    runs: list[str] = []
    for number, label in enumerate(result.labels):
        if label == NO_LOSS:
            continue
        if not number or result.labels[number - 1] == NO_LOSS:
            runs.append("")
        runs[-1] += result.pieces[number]
    assert result.stop_trained
    assert len(runs) == len(contents)
    openings = [""] * (len(contents) - 1) + [OPENINGS.get(style, "")]
    for run, opening, (_, answer) in zip(runs, openings, contents, strict=True):
        assert "".join(run.split()) == "".join((opening + answer + STOPS[style][1]).split())


CODECS: dict[tuple[str, str], ChatCodec] = {}
