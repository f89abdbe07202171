"""The proof that our tokens are the model's: the same ids as transformers, on a sample of rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from core.config.errors import FailedError
from core.config.hub import local_folder
from core.config.schema import RunConfig
from core.data.chat import Chat
from core.data.encoded import Encoded
from core.data.template import tools_of
from core.data.tokens import ChatCodec, is_raw


def prove(codec: ChatCodec, config: RunConfig, chats: Sequence[Chat]) -> None:
    """Check that our ids are those of transformers. Raises FailedError at a difference."""
    tokenizer = _tokenizer(config)
    own_template = None if tokenizer.chat_template else codec.template.source
    # Only special tokens are made ordinary text; a thought's or a call's tags stay what they are.
    tokenizer.chat_control_tokens = []
    for chat in chats:
        ours = _ours(codec, chat)
        if ours is None:
            continue
        theirs = (
            _raw_ids(codec, tokenizer, chat[0]["content"])
            if is_raw(chat)
            else tokenizer.apply_chat_template(
                codec.template.job(chat).messages,
                tools=tools_of(chat),
                chat_template=own_template,
                tokenize=True,
                return_dict=False,
                sanitize_control_tokens=codec.special_tokens == "literal",
            )
        )
        if list(theirs) != ours:
            raise _mismatch(config.model.name_or_path, ours, list(theirs))


def _tokenizer(config: RunConfig) -> Any:
    # Here and nowhere else in the data path: this import costs seconds, and brings torch.
    from transformers import AutoTokenizer

    name = config.model.name_or_path
    try:
        return AutoTokenizer.from_pretrained(
            name,
            revision=config.model.revision,
            trust_remote_code=False,
            local_files_only=local_folder(name) is not None,
        )
    except (OSError, ValueError, KeyError) as error:
        raise FailedError(
            f"transformers cannot read the tokenizer of {name}: {error}",
            kind="no_tokenizer",
            remedies=("models that bring code of their own are not run; use one that does not",),
        ) from error


def _ours(codec: ChatCodec, chat: Chat) -> list[int] | None:
    """Our ids of the whole row; None where it cannot be learned from."""
    result = codec.encode(chat)
    return result.ids if isinstance(result, Encoded) else None


def _raw_ids(codec: ChatCodec, tokenizer: Any, text: str) -> list[int]:
    """transformers' ids of a raw text, with the model's end token behind it."""
    if codec.special_tokens == "literal":
        ids = list(tokenizer(text, split_special_tokens=True)["input_ids"])
        ended = False
    else:
        ids = list(tokenizer(text, split_special_tokens=False)["input_ids"])
        ended = ids[-1:] == [codec.eos_id]
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
