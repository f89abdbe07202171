"""The same learnable tokens for everyone: often-used words, half of them with a fixed successor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from peers.shapes import SEED, Row

UNK, BOS, EOS, PAD, FIRST_WORD = 0, 1, 2, 3, 10
"""Ids of the home-made tokenizer."""

_WORDS = 20_000
_MEDIAN_CHAT, _SPREAD, _SHORTEST = 380, 0.9, 16
"""Tokens of a chat, log-normal: the median, the spread of its logarithm, the least."""


def documents(row: Row, vocabulary: int) -> list[list[int]]:
    """Token ids, one list a document, enough for all steps of the row."""
    random = np.random.default_rng(SEED)
    sequences = row.batch * row.accumulation * row.steps
    lengths = _lengths(row, sequences, random)
    words = random.permutation(np.arange(FIRST_WORD, vocabulary))[:_WORDS]
    successor = random.permutation(len(words))
    odds = 1 / np.arange(1, len(words) + 1)
    total = int(lengths.sum())
    drawn = random.choice(len(words), size=total, p=odds / odds.sum())
    follows = random.random(total) < 0.5
    for place in np.flatnonzero(follows[1:]) + 1:
        drawn[place] = successor[drawn[place - 1]]
    made = np.split(words[drawn], np.cumsum(lengths)[:-1])
    return [[*document[:-1].tolist(), EOS] for document in made]


def _lengths(row: Row, sequences: int, random: np.random.Generator) -> Any:
    if not row.mixed:
        return np.full(sequences, row.length)
    mean = _MEDIAN_CHAT * row.length / 2048
    # Packing fills sequences nearly to the end: a fifth more than their room is always enough.
    count = sequences + int(1.2 * sequences * row.length / mean)
    drawn = random.lognormal(math.log(mean), _SPREAD, count)
    return np.clip(drawn, min(_SHORTEST, row.length), row.length).astype(int)


def as_text(document: list[int]) -> str:
    """The text that the home-made tokenizer turns back into the same ids."""
    return " ".join(f"w{token}" for token in document[:-1]) + " </s>"
