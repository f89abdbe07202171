"""Special tokens' names inside contents, encoded as ordinary text.

A name in a content is put between two marks before the template is rendered, so that it can be
told from the same name where the template writes it. transformers does the same under the name
``sanitize_control_tokens``; the ids are equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import Tokenizer

from core.data.chats.chat import Chat
from core.data.tokens.encoded import Joined
from core.data.tokens.layout import Span

OPEN, CLOSE = "\U000f0031", "\U000f0032"


class StubbornTokenError(Exception):
    """The vocabulary makes a special token even of ordinary text of its name."""


class Literal:
    """Marks special tokens' names, and encodes texts with such marks."""

    def __init__(self, tokenizer: Tokenizer, names: frozenset[str]):
        longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        self.pattern = re.compile(longest_first or "(?!)")
        self._marks = re.compile(f"{OPEN}({self.pattern.pattern}){CLOSE}|[{OPEN}{CLOSE}]")
        self._tokenizer = tokenizer
        self._plain = Tokenizer.from_str(tokenizer.to_str())
        self._plain.encode_special_tokens = True
        self._newline = tokenizer.encode("\n", add_special_tokens=False).ids

    def mark(self, chat: Chat) -> Chat:
        """The chat with its special tokens' names marked."""
        marked: Chat = [self._marked(message) for message in chat]
        return marked

    def mark_text(self, text: str) -> str:
        text = text.replace(OPEN, "").replace(CLOSE, "")
        return self.pattern.sub(rf"{OPEN}\g<0>{CLOSE}", text)

    def _marked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.mark_text(value)
        if isinstance(value, dict):
            return {key: self._marked(item) for key, item in value.items()}
        return [self._marked(item) for item in value] if isinstance(value, list) else value

    def encode(self, text: str) -> tuple[str, Joined]:
        """A rendered text without its marks, and its tokens. Raises StubbornTokenError."""
        joined, clean = Joined(), ""
        for piece, as_text in self._pieces(text):
            if clean:
                ids, offsets = self._later(piece, as_text)
            else:
                first = self._plain if as_text else self._tokenizer
                encoding = first.encode(piece, add_special_tokens=False)
                ids, offsets = encoding.ids, encoding.offsets
            if as_text and self._tokenizer.token_to_id(piece) in ids:
                raise StubbornTokenError(piece)
            joined.add(ids, [(start + len(clean), end + len(clean)) for start, end in offsets])
            clean += piece
        return clean, joined

    def encode_raw(self, text: str, names: Iterable[str]) -> Joined:
        """The tokens of a raw text in which ``names`` are found. Raises StubbornTokenError."""
        encoding, joined = self._plain.encode(text), Joined()
        for name in names:
            if self._tokenizer.token_to_id(name) in encoding.ids:
                raise StubbornTokenError(name)
        joined.add(encoding.ids, encoding.offsets)
        return joined

    def moved(self, text: str, span: Span) -> Span:
        """A turn's place in the text without marks."""
        start, said, end = (
            None if place is None else len(_clean(text[:place]))
            for place in (span.start, span.said, span.end)
        )
        assert start is not None
        assert said is not None
        return Span(start, said, end)

    def _pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        for number, piece in enumerate(self._marks.split(text)):
            if piece:
                yield piece, number % 2 == 1

    def _later(self, piece: str, as_text: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """A piece from within: some tokenizers begin a text with a space, which it has not."""
        tokenizer = self._plain if as_text else self._tokenizer
        encoding = tokenizer.encode("\n" + piece, add_special_tokens=False)
        own = len(self._newline)
        if encoding.ids[:own] == self._newline:
            places = [(max(0, start - 1), end - 1) for start, end in encoding.offsets[own:]]
            return encoding.ids[own:], places
        encoding = tokenizer.encode(piece, add_special_tokens=False)
        return encoding.ids, encoding.offsets


def _clean(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "")
