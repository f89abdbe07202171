"""Chats to tokens and labels, without torch: ``tokenizers`` and the model's own chat template.

The ids are those of transformers' ``apply_chat_template``; the worker proves it when it prepares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal as OneOf

from tokenizers import Tokenizer

from core.config.schema import RunConfig
from core.data.chats.chat import Chat, Defect, Message
from core.data.tokens.encoded import NO_LOSS, Encoded, Source, covering, starting
from core.data.tokens.literal import Literal, StubbornTokenError
from core.data.tokens.mask import Masked, Masker, Span
from core.data.tokens.template import ChatTemplate
from core.data.tokens.tokenizer import load_parts

__all__ = [
    "NO_LOSS", "WARNINGS", "ChatCodec", "Encoded", "SpecialTokens", "is_raw", "pad_token",
]  # fmt: skip

SpecialTokens = OneOf["keep", "literal", "reject"]
"""What becomes of a special token's name in a content: that token, ordinary text, or a reason to
leave the row out."""

WARNINGS = frozenset({
    "only_last_answer_trained", "prompt_differs", "reasoning_dropped", "special_token_in_text",
    "template_changes_content",
})  # fmt: skip
"""Notes that a person should read before hours of training."""

_PAD_NAMES = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<|padding|>")
_SPARE = re.compile(r"reserved|unused|extra_id|fim_pad|placeholder", re.IGNORECASE)
_PROBE: Chat = [
    {"role": "user", "content": "Question"},
    {"role": "assistant", "content": "Answer"},
]


class ChatCodec:
    """A model's tokenizer and chat template."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        named: Mapping[str, str],
        special_tokens: SpecialTokens = "keep",
    ):
        self.tokenizer = tokenizer
        self.template = template
        self.named = dict(named)
        """Named special tokens: ``eos_token``, ``pad_token`` ..."""
        self.special_tokens = special_tokens
        self._masker = Masker(template)

    @classmethod
    def load(
        cls,
        name_or_path: str,
        revision: str | None = None,
        special_tokens: SpecialTokens = "keep",
    ) -> ChatCodec:
        """Read a model's tokenizer files. Raises InputError when they are missing or broken."""
        return cls(*load_parts(name_or_path, revision), special_tokens)

    @classmethod
    def of(cls, config: RunConfig) -> ChatCodec:
        """The codec that a run's settings ask for. Raises InputError as ``load`` does."""
        model = config.model
        return cls.load(model.name_or_path, model.revision, config.data.special_tokens_in_text)

    @property
    def eos_id(self) -> int | None:
        return self.token_id(self.named.get("eos_token"))

    def token_id(self, token: str | None) -> int | None:
        """The id of a token by its name; None when the vocabulary has no such token."""
        found: int | None = None if token is None else self.tokenizer.token_to_id(token)
        return found

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: what the template writes after one, then the model's end."""
        return tuple(
            dict.fromkeys(i for i in (self._template_stop(), self.eos_id) if i is not None)
        )

    def render(self, chat: Chat, *, add_generation_prompt: bool = False) -> str:
        """The chat as the model sees it. Raises TemplateFault."""
        if is_raw(chat):
            return self._raw_text(chat)
        return self.template.render(chat, add_generation_prompt=add_generation_prompt)

    def encode(self, chat: Chat, max_length: int | None = None) -> Encoded | Defect:
        """One chat in tokens, at most ``max_length`` of them, or why it cannot be learned from."""
        return self.encode_many([chat], max_length)[0]

    def encode_many(
        self, chats: Sequence[Chat], max_length: int | None = None
    ) -> list[Encoded | Defect]:
        """As ``encode``, for several chats at once: faster, on all cores."""
        rows = [self._row(chat) for chat in chats]
        self._mask(rows)
        self._tokenize(rows)
        return [
            row.outcome if isinstance(row.outcome, Defect) else self._encoded(row, max_length)
            for row in rows
        ]

    @cached_property
    def special_names(self) -> frozenset[str]:
        """The names of all special tokens."""
        added = self.tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    @cached_property
    def _literal(self) -> Literal:
        return Literal(self.tokenizer, self.special_names)

    def _row(self, chat: Chat) -> _Row:
        found = self._specials.search("\0".join([_texts(message) for message in chat]))
        row = _Row(chat, raw=is_raw(chat), special=found.group() if found else "")
        if found and self.special_tokens == "reject":
            row.outcome = Defect("special_token_in_text", f"contains {found.group()}")
        elif found and self.special_tokens == "literal":
            row.literal = True
            row.chat = chat if row.raw else self._literal.mark(chat)
        return row

    def _mask(self, rows: Sequence[_Row]) -> None:
        chats = [row for row in rows if row.outcome is None and not row.raw]
        for row, masked in zip(chats, self._masker.mask([r.chat for r in chats]), strict=True):
            row.outcome = masked
        for row in rows:
            if row.raw and row.outcome is None:
                row.outcome = Masked(self._raw_text(row.chat), ())

    def _tokenize(self, rows: Sequence[_Row]) -> None:
        for raw in (False, True):  # only a raw text gets what the tokenizer itself adds
            own = [row for row in rows if row.raw is raw and isinstance(row.outcome, Masked)]
            plain = [row for row in own if not row.literal]
            encodings = self.tokenizer.encode_batch(
                [row.text for row in plain], add_special_tokens=raw
            )
            for row, encoding in zip(plain, encodings, strict=True):
                row.source = encoding
            for row in own:
                if row.literal:
                    self._tokenize_literal(row)

    def _tokenize_literal(self, row: _Row) -> None:
        masked = row.outcome
        assert isinstance(masked, Masked)
        try:
            if row.raw:
                text = row.chat[0]["content"]
                row.source = source = self._literal.encode_raw(text, [row.special])
                if self.eos_id is not None:  # the end is ours, and stays a special token
                    end = self.named["eos_token"]
                    source.add([self.eos_id], [(len(text), len(text) + len(end))])
                    text += end
            else:
                text, row.source = self._literal.encode(masked.text)
        except StubbornTokenError as stubborn:
            detail = f"{stubborn} in a content cannot be made ordinary text with this vocabulary"
            row.outcome = Defect("special_token_in_text", detail)
            return
        spans = tuple(self._literal.moved(masked.text, span) for span in masked.spans)
        row.outcome = Masked(text, spans, masked.notes)

    def _encoded(self, row: _Row, max_length: int | None) -> Encoded | Defect:
        masked, source = row.outcome, row.source
        assert isinstance(masked, Masked)
        assert source is not None
        count = len(source)
        if row.raw:
            loss, stopped = [(1, count)], self._ends_in_stop(masked.text)
        else:
            turns = [self._turn(source, span, masked.text) for span in masked.spans]
            # Nothing comes before the first token to predict it from.
            loss = [(max(1, start), end) for start, end, _ in turns if end > max(1, start)]
            stopped = bool(turns) and turns[-1][2]
        notes = dict(masked.notes)
        if row.special:
            made = "ordinary text" if row.literal else "that token"
            notes["special_token_in_text"] = f"{row.special} in a content becomes {made}"
        whole = Encoded(
            masked.text, count, count, tuple(loss), stopped, source,
            raw=row.raw, notes=tuple(notes), details=notes,
        )  # fmt: skip
        return whole.cut(max_length)

    def _turn(self, source: Source, span: Span, text: str) -> tuple[int, int, bool]:
        """The tokens of one turn; whether its stop token is among them."""
        first = covering(source, span.start, len(text))
        limit = len(text) if span.end is None else span.end
        stop = self._stops.match(text, span.said, limit)
        if stop is not None:
            token = covering(source, stop.start(1), len(text))
            place = source.token_to_chars(token) if token < len(source) else None
            if place is not None and place[0] <= stop.start(1) and place[1] >= stop.end(1):
                return first, token + 1, True
        if span.end is None:
            last = starting(source, span.said, len(text))
            return first, last, self._stops_at(source, last - 1, text[span.start : span.said])
        # No stop token follows: what the template writes to end a turn is learned instead.
        end = span.start + len(text[span.start : limit].rstrip())
        return first, starting(source, end, len(text)), self._ends_in_stop(text[span.start : end])

    @cached_property
    def _stops(self) -> re.Pattern[str]:
        names = [str(self.tokenizer.id_to_token(token_id)) for token_id in self.stop_ids]
        longest_first = sorted(names, key=len, reverse=True)
        return re.compile(rf"\s*({'|'.join(map(re.escape, longest_first)) or '(?!)'})")

    def _ends_in_stop(self, text: str) -> bool:
        """Whether a turn ends in a special token, such as one that ends a tool call."""
        return any(text.endswith(name) for name in self.special_names)

    def _stops_at(self, source: Source, token: int, text: str) -> bool:
        """Whether what a template marks as generated, up to a token, has the stop token in it."""
        return self._ends_in_stop(text) and source.ids[token] in self._special_ids

    @cached_property
    def _special_ids(self) -> frozenset[int | None]:
        return frozenset(self.token_id(name) for name in self.special_names)

    def _raw_text(self, chat: Chat) -> str:
        return chat[0]["content"] + self._raw_end(chat)

    def _raw_end(self, chat: Chat) -> str:
        """What ends a raw text: the model's end token, where the text has it not already."""
        end = self.named.get("eos_token", "")
        return "" if self.eos_id is None or chat[0]["content"].endswith(end) else end

    def _template_stop(self) -> int | None:
        """The special token that the template writes after an answer, found by trying one."""
        (masked,) = self._masker.mask([_PROBE])
        if isinstance(masked, Defect):
            return None
        span = masked.spans[-1]
        # A template's own mark may have the stop token in it, or leave it behind.
        words = masked.text.find(_PROBE[-1]["content"], span.start, span.said)
        said = span.said if words < 0 else words + len(_PROBE[-1]["content"])
        end = len(masked.text) if span.end is None else span.end
        encoding = self.tokenizer.encode(masked.text, add_special_tokens=False)
        for token_id, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            if said <= first and last <= end and token_id in self._special_ids:
                return int(token_id)
        return None

    @cached_property
    def _specials(self) -> re.Pattern[str]:
        names = sorted(self.special_names, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or "(?!)")


@dataclass
class _Row:
    """A chat on its way to tokens."""

    chat: Chat
    raw: bool
    special: str
    """A special token's name in a content."""
    literal: bool = False
    outcome: Masked | Defect | None = None
    source: Source | None = None

    @property
    def text(self) -> str:
        return self.outcome.text if isinstance(self.outcome, Masked) else ""


def is_raw(chat: Chat) -> bool:
    """Whether a chat is a raw text: one message without a role in a conversation."""
    return len(chat) == 1 and chat[0]["role"] == "text"


def _texts(message: Message) -> str:
    if len(message) == 2:
        return message["content"]
    return json.dumps(message, ensure_ascii=False)


def pad_token(codec: ChatCodec) -> tuple[int, str, str]:
    """A token to fill up batches with: its id, its name, and why this one.

    Distinct from every stop token wherever the vocabulary allows it, so that a tool that masks
    padding by its id does not unlearn when to stop.
    """
    own = codec.named.get("pad_token")
    spares = sorted(name for name in codec.special_names if _SPARE.search(name))
    candidates = [
        (own, "the tokenizer's own"),
        *((name, "made for padding") for name in _PAD_NAMES),
        (codec.named.get("unk_token"), "the unknown token: not needed by this tokenizer's text"),
        *((name, "a spare token of the vocabulary") for name in spares),
    ]
    taken = {codec.token_id(codec.named.get("bos_token")), *codec.stop_ids}
    for name, why in candidates:
        token_id = codec.token_id(name)
        if name is not None and token_id is not None and token_id not in taken:
            return token_id, name, why
    if not codec.stop_ids:
        return 0, str(codec.tokenizer.id_to_token(0)), "the vocabulary has no special token at all"
    stop = codec.eos_id if codec.eos_id is not None else codec.stop_ids[0]
    name = str(codec.tokenizer.id_to_token(stop))
    return stop, name, "the vocabulary has no other; the stop token still carries loss in answers"
