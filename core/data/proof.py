"""The proof that our tokens are the model's: the same ids as transformers, on a sample of rows."""

from __future__ import annotations

from collections.abc import Sequence

from core.config.errors import FailedError
from core.config.hub import local_folder
from core.config.schema import RunConfig
from core.data.chat import Chat
from core.data.tokens import ChatCodec


def prove(codec: ChatCodec, config: RunConfig, chats: Sequence[Chat]) -> None:
    """Check that our ids are those of transformers. Raises FailedError at a difference."""
    # Here and nowhere else in the data path: this import costs seconds, and brings torch.
    from transformers import AutoTokenizer

    name = config.model.name_or_path
    try:
        tokenizer = AutoTokenizer.from_pretrained(
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
    own_template = None if tokenizer.chat_template else codec.template.source
    for chat in chats:
        theirs = tokenizer.apply_chat_template(
            chat, chat_template=own_template, tokenize=True, return_dict=False
        )
        ours = codec.tokenizer.encode(codec.render(chat), add_special_tokens=False).ids
        if list(theirs) != ours:
            place = next(
                (n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]),
                min(len(ours), len(theirs)),
            )
            raise FailedError(
                f"the tokens of {name} differ from transformers' at token {place}: "
                f"{ours[place : place + 4]} here, {list(theirs[place : place + 4])} there",
                kind="tokenizer_mismatch",
                remedies=(
                    "write the tokenizer anew with transformers' AutoTokenizer and "
                    "save_pretrained, so that tokenizer.json says all of it",
                ),
            )
