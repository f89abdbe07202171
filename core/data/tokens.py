"""Chats to tokens and labels, without torch: ``tokenizers`` and the model's own chat template.

The ids are those of transformers' ``apply_chat_template``; the worker proves it when it prepares.
A special token's name inside a content becomes that special token, as it does there; it is noted.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tokenizers import Encoding, Tokenizer

from core.data.formats import Chat, Defect
from core.data.mask import Masked, Span, UnmaskableError, mask
from core.data.template import ChatTemplate, TemplateFault
from core.data.tokenizer import load_parts

NO_LOSS = -100
"""The label of a token that carries no loss."""

_PAD_NAMES = ("<|finetune_right_pad_id|>", "<|pad|>", "<pad>", "[PAD]", "<|padding|>")
_SPARE = re.compile(r"reserved|unused|extra_id|fim_pad|placeholder", re.IGNORECASE)
_PROBE: Chat = [
    {"role": "user", "content": "Question"},
    {"role": "assistant", "content": "Answer"},
]


@dataclass(frozen=True)
class Encoded:
    """One chat in tokens. All lists have the same length.

    ``labels`` repeat the id where the token carries loss and are -100 elsewhere; ``offsets`` are
    character ranges of ``text``, without gaps.
    """

    text: str
    ids: list[int]
    labels: list[int]
    offsets: list[tuple[int, int]]
    stop_trained: bool
    """The last answer's stop token carries loss, so that the model learns to end."""
    truncated: bool
    full_length: int
    """Tokens before the cut."""
    notes: tuple[str, ...] = ()

    @property
    def loss_tokens(self) -> int:
        return sum(label != NO_LOSS for label in self.labels)

    @property
    def pieces(self) -> list[str]:
        """The text of each token; empty for the later bytes of one character."""
        reached, pieces = 0, []
        for start, end in self.offsets:
            pieces.append(self.text[max(start, reached) : end])
            reached = max(reached, end)
        return pieces


class ChatCodec:
    """A model's tokenizer and chat template."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate, named: Mapping[str, str]):
        self.tokenizer = tokenizer
        self.template = template
        self.named = dict(named)
        """Named special tokens: ``eos_token``, ``pad_token`` ..."""

    @classmethod
    def load(cls, name_or_path: str, revision: str | None = None) -> ChatCodec:
        """Read a model's tokenizer files. Raises InputError when they are missing or broken."""
        return cls(*load_parts(name_or_path, revision))

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
        return self.template.render(chat, add_generation_prompt=add_generation_prompt)

    def encode(self, chat: Chat, max_length: int | None = None) -> Encoded | Defect:
        """One chat in tokens, at most ``max_length`` of them, or why it cannot be learned from."""
        return self.encode_many([chat], max_length)[0]

    def encode_many(
        self, chats: Sequence[Chat], max_length: int | None = None
    ) -> list[Encoded | Defect]:
        """As ``encode``, for several chats at once: faster, on all cores."""
        masked = [self._masked(chat) for chat in chats]
        texts = [item.text for item in masked if isinstance(item, Masked)]
        encodings = iter(self.tokenizer.encode_batch(texts, add_special_tokens=False))
        return [
            self._encoded(chat, item, next(encodings), max_length)
            if isinstance(item, Masked)
            else item
            for chat, item in zip(chats, masked, strict=True)
        ]

    def _masked(self, chat: Chat) -> Masked | Defect:
        try:
            return mask(self.template, chat)
        except TemplateFault as fault:
            return Defect("template_refused", f"the chat template says: {fault}")
        except UnmaskableError as error:
            return Defect("template_cannot_be_masked", str(error))

    def _encoded(
        self, chat: Chat, masked: Masked, encoding: Encoding, max_length: int | None
    ) -> Encoded | Defect:
        ids: list[int] = encoding.ids
        offsets = _gapless(encoding.offsets)
        loss = [False] * len(ids)
        stopped = False
        for span in masked.spans:
            stopped = self._mark(loss, ids, offsets, span, masked.text)
        cut = len(ids) if max_length is None else min(len(ids), max_length)
        labels = [i if carries else NO_LOSS for i, carries in zip(ids, loss, strict=True)][:cut]
        labels[:1] = [NO_LOSS]  # nothing comes before the first token to predict it from
        if all(label == NO_LOSS for label in labels):
            detail = f"no token of an answer is within {cut} of its {len(ids)} tokens"
            return Defect("answer_cut_off" if cut < len(ids) else "nothing_to_learn", detail)
        notes = [masked.note] if masked.note else []
        if self._specials.search("\0".join(message["content"] for message in chat)):
            notes.append("special_token_in_text")
        truncated = cut < len(ids)
        return Encoded(
            masked.text, ids[:cut], labels, offsets[:cut],
            stopped and not truncated, truncated, len(ids), tuple(notes),
        )  # fmt: skip

    def _mark(
        self,
        loss: list[bool],
        ids: list[int],
        offsets: list[tuple[int, int]],
        span: Span,
        text: str,
    ) -> bool:
        """Mark the tokens of one turn; whether its stop token is among them."""
        starts = [start for start, _ in offsets]
        first = bisect_right([end for _, end in offsets], span.start)
        after = bisect_left(starts, span.said, lo=min(first, len(ids)))
        limit = len(text) if span.end is None else span.end
        stop = self._stop_after(ids, offsets, after, limit, text)
        if stop is not None:
            end = stop + 1
        elif span.end is None:
            end = after
        else:  # no stop token in this template: what it writes to end a turn is learned instead
            end = bisect_left(starts, span.start + len(text[span.start : limit].rstrip()))
        loss[first:end] = [True] * (end - first)
        return stop is not None

    def _stop_after(
        self, ids: list[int], offsets: list[tuple[int, int]], start: int, limit: int, text: str
    ) -> int | None:
        """The stop token that follows, with nothing but white space before it."""
        for number in range(start, len(ids)):
            begin, end = offsets[number]
            if begin >= limit:
                return None
            if ids[number] in self.stop_ids:
                return number
            if text[begin:end].strip():
                return None
        return None

    def _template_stop(self) -> int | None:
        """The special token that the template writes after an answer, found by trying one."""
        masked = self._masked(_PROBE)
        if isinstance(masked, Defect) or masked.spans[-1].end is None:
            return None
        span = masked.spans[-1]
        encoding = self.tokenizer.encode(masked.text, add_special_tokens=False)
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            inside = start >= span.said and end <= (span.end or 0)
            if inside and self.tokenizer.id_to_token(token_id) in self._special_names:
                return int(token_id)
        return None

    @cached_property
    def _special_names(self) -> frozenset[str]:
        added = self.tokenizer.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added if token.special)

    @cached_property
    def _specials(self) -> re.Pattern[str]:
        names = sorted(self._special_names, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or "(?!)")


def pad_token(codec: ChatCodec) -> tuple[int, str, str]:
    """A token to fill up batches with: its id, its name, and why this one.

    Distinct from every stop token wherever the vocabulary allows it, so that a tool that masks
    padding by its id does not unlearn when to stop.
    """
    own = codec.named.get("pad_token")
    spares = sorted(name for name in codec._special_names if _SPARE.search(name))
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


def _gapless(offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Offsets in which each character belongs to a token.

    Byte-level tokenizers leave the space before a word out; it is given to the word's token.
    """
    if not offsets:
        return []
    starts, ends = np.array(offsets, dtype=np.int64).T
    reached = np.maximum.accumulate(ends)
    begins = np.minimum(starts, np.concatenate([[0], reached[:-1]]))
    return list(zip(begins.tolist(), np.maximum(begins, ends).tolist(), strict=True))
