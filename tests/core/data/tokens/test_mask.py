"""The mask holds for contents of any kind: odd spaces, stop tokens' names, half a template."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from chat_templates import CHATML, NO_SYSTEM, OPENINGS, STOPS, ModelMaker
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from core.data.chats.chat import Chat, Defect
from core.data.tokens.codec import NO_LOSS, ChatCodec, Encoded

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


@pytest.mark.parametrize("style", STOPS)
@given(contents=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3), system=st.booleans())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_learned_layout_says_what_beginnings_say(
    style: str, contents: list[tuple[str, str]], system: bool, make_model: ModelMaker
) -> None:
    codec = CODECS.get((style, "bytes")) or CODECS.setdefault(
        (style, "bytes"), ChatCodec.load(str(make_model(STOPS[style][0])))
    )
    chat: Chat = [{"role": "system", "content": "Be brief."}] if system else []
    for question, answer in contents:
        chat.append({"role": "user", "content": question})
        chat.append({"role": "assistant", "content": answer})
    slow = ChatCodec(codec.tokenizer, codec.template, codec.named)
    slow._masker._layouts = Nothing()
    fast, by_beginnings = codec.encode(chat), slow.encode(chat)
    if system and style in NO_SYSTEM:
        assert fast == by_beginnings
        assert isinstance(fast, Defect)
        assert fast.reason == "template_refused"
        return
    assert isinstance(fast, Encoded)
    assert isinstance(by_beginnings, Encoded)
    assert codec._masker._layouts[tuple(message["role"] for message in chat)]
    assert fast == replace(by_beginnings, notes=fast.notes)


class Nothing(dict[Any, Any]):
    """Layouts of which none was ever found."""

    def __contains__(self, key: object) -> bool:
        return True


def test_contents_that_a_template_changes_are_shown(make_model: ModelMaker) -> None:
    shouting = CHATML.replace("m['content']", "m['content'] | replace('quiet', 'LOUD')")
    codec = ChatCodec.load(str(make_model(shouting)))
    chat: Chat = [
        {"role": "user", "content": "Is it quiet here?"},
        {"role": "assistant", "content": "Yes."},
    ]
    (result,) = codec.encode_many([chat])
    assert isinstance(result, Encoded)
    assert result.notes == ("template_changes_content",)
    detail = result.details["template_changes_content"]
    assert detail.startswith("turn 1 (user): the row has")
    assert "quiet here?" in detail
    assert "LOUD here?" in detail
    silent = CHATML.replace("for m in messages", "for m in messages if m.role != 'system'")
    codec = ChatCodec.load(str(make_model(silent)))
    (dropped,) = codec.encode_many([[{"role": "system", "content": "Be kind."}, *chat]])
    assert isinstance(dropped, Encoded)
    assert dropped.details["template_changes_content"] == (
        'turn 1 (system): the template leaves "Be kind." out'
    )
