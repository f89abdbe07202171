"""The proof that our tokens are the model's: the same ids as transformers, on a sample of rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from core.config.errors import FailedError
from core.config.schema import RunConfig
from core.data.chats.chat import Chat
from core.data.reference import Question, Reference
from core.data.tokens.codec import ChatCodec, is_raw
from core.data.tokens.encoded import Encoded
from core.data.tokens.template import tools_of


def prove(
    codec: ChatCodec, config: RunConfig, chats: Sequence[Chat], *, apart: bool | None = None
) -> None:
    """Check that our ids are those of transformers. Raises FailedError at a difference.

    ``apart`` says where transformers loads, as ``Reference.answers`` has it.
    """
    model = config.model
    literal = codec.special_tokens == "literal"
    reference = Reference(model.name_or_path, model.revision, codec.template.source, literal)
    learned = [
        (chat, result.ids)
        for chat, result in zip(chats, codec.encode_many(chats), strict=True)
        if isinstance(result, Encoded)
    ]
    answers = reference.answers([_question(codec, chat) for chat, _ in learned], apart=apart)
    for (chat, ours), theirs in zip(learned, answers, strict=True):
        if is_raw(chat):
            theirs = _ended(codec, theirs, literal=literal)
        if theirs != ours:
            raise _mismatch(model.name_or_path, ours, theirs)


def _question(codec: ChatCodec, chat: Chat) -> Question:
    if is_raw(chat):
        return Question(None, text=chat[0]["content"])
    return Question(codec.template.job(chat).messages, tools_of(chat))


def _ended(codec: ChatCodec, ids: list[int], *, literal: bool) -> list[int]:
    """A raw text's ids with the model's end token behind it, unless the text ends in that."""
    ended = not literal and ids[-1:] == [codec.eos_id]
    return ids if ended or codec.eos_id is None else [*ids, codec.eos_id]


def _mismatch(name: str, ours: list[int], theirs: list[int]) -> FailedError:
    pairs = itertools.zip_longest(ours, theirs)
    place = next(number for number, (own, other) in enumerate(pairs) if own != other)
    return FailedError(
        f"the tokens of {name} differ from transformers' at token {place}: "
        f"{ours[place : place + 4]} here, {theirs[place : place + 4]} there",
        kind="tokenizer_mismatch",
        remedies=(
            "write the tokenizer anew with transformers' AutoTokenizer and "
            "save_pretrained, so that tokenizer.json says all of it",
        ),
    )
