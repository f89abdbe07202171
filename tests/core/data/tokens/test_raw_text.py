"""Raw text: no template, every token but the first is learned, long ones become several."""

from __future__ import annotations

import numpy as np
import pytest
from chat_templates import CHATML, ModelMaker

from core.data.chats.chat import Chat, Defect
from core.data.tokens.codec import NO_LOSS, ChatCodec, Encoded


def raw(text: str) -> Chat:
    return [{"role": "text", "content": text}]


def test_all_tokens_but_the_first_are_learned_and_the_end_is_one(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    result = codec.encode(raw("Once upon a time there was a lamp."))
    assert isinstance(result, Encoded)
    assert result.labels == [NO_LOSS, *result.ids[1:]]
    assert result.ids[-1] == codec.eos_id
    assert result.stop_trained
    assert result.text == codec.render(raw("Once upon a time there was a lamp."))
    assert "".join(result.pieces) == result.text == "Once upon a time there was a lamp.</s>"
    again = codec.encode(raw("Once upon a time there was a lamp.</s>"))
    assert isinstance(again, Encoded)
    assert again.ids == result.ids


def test_what_the_tokenizer_adds_to_a_text_is_added(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    from tokenizers.processors import TemplateProcessing

    begin = codec.token_id("<s>")
    codec.tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", begin)]
    )
    result = codec.encode(raw("a lamp"))
    assert isinstance(result, Encoded)
    assert (result.ids[0], result.labels[0]) == (begin, NO_LOSS)
    assert result.loss_tokens == len(result.ids) - 1


@pytest.mark.parametrize("count", [15, 16, 17, 32, 33, 50])
def test_a_long_text_becomes_sequences_without_a_gap(count: int, make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    result = codec.encode(raw("é" * ((count - 1) // 2) + "!" * ((count - 1) % 2)), 16)
    assert isinstance(result, Encoded)
    assert not result.truncated
    sequences = list(result.sequences)
    assert np.concatenate([ids for ids, _ in sequences]).tolist() == result.ids
    assert all(2 <= len(ids) <= 16 for ids, _ in sequences)
    assert all(labels[0] == NO_LOSS for _, labels in sequences)
    assert all((labels[1:] == ids[1:]).all() for ids, labels in sequences)
    assert len(sequences) == -(-len(result.ids) // 16)
    assert result.loss_tokens == sum(len(ids) - 1 for ids, _ in sequences)


def test_nothing_can_be_learned_from_nothing(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML, eos_token=None)))
    assert codec.encode(raw("a")) == Defect(
        "nothing_to_learn", "no token of an answer is within 1 of its 1 token"
    )


def test_raw_texts_and_chats_may_be_mixed(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    talk: Chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [raw("one"), talk, raw("two"), talk]
    assert codec.encode_many(rows) == [codec.encode(row) for row in rows]
