"""transformers' own tokenizer: what ours is compared with, in a process that has no torch.

With torch behind it transformers takes half a gigabyte and seconds of start; its tokenizers need
neither. Where the program holds torch already, there is nothing to save: then they load here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from core.config.errors import FailedError
from core.config.hub import local_folder
from core.data.workers import in_order

Ids = list[int]


@dataclass(frozen=True)
class Question:
    """One row as transformers is asked for it: messages of a chat and its tools, or a text."""

    messages: list[dict[str, Any]] | None
    tools: list[Any] | None = None
    text: str = ""


@dataclass(frozen=True)
class Reference:
    """AutoTokenizer of a model, as a run would load it."""

    name: str
    revision: str | None
    template: str
    """Takes the place of the model's own template where it has none."""
    literal: bool
    """Special tokens' names in contents are ordinary text."""

    def answers(self, questions: Iterable[Question], *, apart: bool | None = None) -> Iterator[Ids]:
        """transformers' ids of each row. ``apart``: in a process without torch; left open, where
        this one has none either.

        Raises FailedError when transformers cannot read the tokenizer, or the process dies.
        """
        if apart is None:
            apart = "torch" not in sys.modules
        if apart:
            yield from in_order(_WithoutTorch, (self,), questions, 1)
        else:
            yield from map(_Tokenizer(self), questions)


class _Tokenizer:
    """Answers questions in this process."""

    def __init__(self, reference: Reference):
        self._own = reference
        self._tokenizer = _loaded(reference)
        self._template = None if self._tokenizer.chat_template else reference.template
        # Only special tokens are made ordinary text; a thought's or a call's tags stay as they are.
        self._tokenizer.chat_control_tokens = []

    def __call__(self, question: Question) -> Ids:
        if question.messages is None:
            found = self._tokenizer(question.text, split_special_tokens=self._own.literal)
            return list(found["input_ids"])
        ids = self._tokenizer.apply_chat_template(
            question.messages,
            tools=question.tools,
            chat_template=self._template,
            tokenize=True,
            return_dict=False,
            sanitize_control_tokens=self._own.literal,
        )
        return list(ids)


class _WithoutTorch(_Tokenizer):
    """The same in a process that is to know of no torch, before transformers looks for it."""

    def __init__(self, reference: Reference):
        # None means to the import system that there is no such module, installed or not.
        sys.modules["torch"] = None  # type: ignore[assignment]
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # it would warn of that
        super().__init__(reference)


def _loaded(reference: Reference) -> Any:
    from transformers import AutoTokenizer

    name = reference.name
    try:
        return AutoTokenizer.from_pretrained(
            name,
            revision=reference.revision,
            trust_remote_code=False,
            local_files_only=local_folder(name) is not None,
        )
    except (OSError, ValueError, KeyError) as error:
        raise FailedError(
            f"transformers cannot read the tokenizer of {name}: {error}",
            kind="no_tokenizer",
            remedies=("models that bring code of their own are not run; use one that does not",),
        ) from error
