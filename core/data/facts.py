"""What a survey found, in numbers: lengths, turns, roles, duplicates, steps. Plain values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from core.config.schema import RunConfig
from core.data.chats.chat import ROLE_LETTERS
from core.data.choice import Choice
from core.data.mix import mix, mix_words, split
from core.data.stats import histogram, spread
from core.data.survey import Survey
from core.data.tokens.pack import pack
from core.data.variety import variety_of
from core.record.pace import Pace

_ROLES = {letter: role for role, letter in ROLE_LETTERS.items()}
PACKED_ROWS = 200_000
"""More rows than this are not packed for a forecast: their sequences are counted from tokens."""
DUPLICATES = ("duplicate", "near_duplicate")


def facts_of(
    survey: Survey,
    chosen: Choice | None = None,
    *,
    forecast: bool = True,
    config: RunConfig | None = None,
) -> dict[str, Any]:
    """Everything that is to be known of the kept rows, without the account itself.

    ``forecast`` adds how a training would go, with the rows that were ``chosen`` if that is done,
    and with the settings of ``config`` where those of training are others by now.
    """
    kept = survey.kept
    values: dict[str, Any] = {
        "rows": len(kept),
        "chars": _lengths(survey.chars[kept]),
        "answer_chars": _lengths(survey.answer_chars[kept]),
        "turns": spread(survey.turns[kept]),
        **_roles(survey),
        "duplicates": {name: survey.tally.rejected[name] for name in DUPLICATES},
        "variety": variety_of(survey.sample),
        "fields_not_learned": survey.tally.unlearned.as_list(),
    }
    if forecast:
        values["training"] = training_of(survey, chosen, config)
    if survey.counted:
        values["tokens"] = _lengths(survey.tokens[kept])
    return values


def training_of(
    survey: Survey, chosen: Choice | None = None, config: RunConfig | None = None
) -> dict[str, Any]:
    """How a training on these rows would go: rows, mix, sequences, steps.

    ``sequences`` and steps are None where they need tokens that were not counted.
    """
    config, kept = config or survey.config, survey.kept
    parts = chosen or split(kept, survey.group[kept], config.data)
    rows = parts.train
    values: dict[str, Any] = {"train_rows": len(rows), "held_out_rows": len(parts.held_out)}
    lengths = survey.tokens_used[rows].astype(np.int64)
    if config.data.weights and len(rows) and (survey.counted or config.data.mix_by == "rows"):
        data = config.data
        epoch, shares = mix(
            survey.sets[rows], lengths, data.files, data.weights, data.mix_by, data.seed
        )
        values["mix"] = [share.as_dict() for share in shares]
        values["mix_in_words"] = [text for text, _ in mix_words(shares, data.mix_by)]
        lengths = lengths[epoch]
    texts = "x" in survey.patterns and bool(
        (survey.roles[rows] == survey.patterns.index("x")).any()
    )
    sequences, exact = sequences_of(lengths, config, survey.counted, texts=texts)
    values |= {"sequences_an_epoch": sequences, "sequences_are_exact": exact}
    values |= steps_of(sequences, config)
    return values | {"tokens_an_epoch": int(lengths.sum()) if survey.counted else None} | _UNTIMED


_UNTIMED: dict[str, Any] = {"seconds": None, "measured": None}


def timed(training: Mapping[str, Any], pace: Pace | None) -> dict[str, Any]:
    """What is known of a training, with the seconds that its steps take at a measured pace.

    Without one they stay unknown: a guess would be taken for knowledge.
    """
    tokens, steps = training["tokens_an_epoch"], training["steps"]
    if pace is None or not tokens or not steps or not pace.tokens_per_second:
        return {**training, **_UNTIMED}
    epochs = steps / training["steps_an_epoch"]
    seconds = tokens * epochs / pace.tokens_per_second
    return {**training, "seconds": seconds, "measured": pace.as_dict()}


def sequences_of(
    lengths: Any, config: RunConfig, counted: bool, *, texts: bool = False
) -> tuple[int | None, bool]:
    """Sequences of an epoch, and whether they were counted rather than estimated from tokens.

    ``texts``: there are raw texts, which become several sequences where they are too long.
    """
    most = config.data.max_length
    if not config.data.packing:
        if texts and not counted:
            return None, False
        return len(lengths) + int(((np.maximum(lengths, 1) - 1) // most).sum()), True
    if not counted:
        return None, False
    pieces = _pieces(lengths, most)
    if len(pieces) <= PACKED_ROWS:
        return len(pack(pieces, most)), True
    return math.ceil(int(lengths.sum()) / most), False


def _pieces(lengths: Any, most: int) -> Any:
    """Tokens of each sequence before packing; rows that are longer than one are raw texts."""
    counts = np.maximum(1, -(-lengths // most))
    pieces = np.full(int(counts.sum()), most, np.int64)
    last = np.cumsum(counts) - 1
    pieces[last] = lengths - (counts - 1) * most
    single = last[(counts > 1) & (pieces[last] == 1)]
    pieces[single - 1] -= 1  # a single token has nothing to be predicted from
    pieces[single] += 1
    return pieces


def steps_of(sequences: int | None, config: RunConfig) -> dict[str, int | None]:
    """Optimizer steps of an epoch and of the whole training, as the trainer counts them."""
    train = config.train
    if sequences is None:
        return {"steps_an_epoch": None, "steps": None}
    batches = math.ceil(sequences / train.per_device_train_batch_size)
    epoch = max(1, math.ceil(batches / train.gradient_accumulation_steps))
    steps = train.max_steps if train.max_steps > 0 else math.ceil(train.num_train_epochs * epoch)
    return {"steps_an_epoch": epoch, "steps": steps}


def _lengths(values: Any) -> dict[str, Any] | None:
    found = spread(values)
    return None if found is None else {**found, "histogram": histogram(values)}


def _roles(survey: Survey) -> dict[str, Any]:
    """Turns of each role, and the most frequent orders of roles."""
    numbers = np.bincount(survey.roles[survey.kept], minlength=len(survey.patterns)).tolist()
    orders = Counter({p: n for p, n in zip(survey.patterns, numbers, strict=True) if n and p})
    roles: Counter[str] = Counter()
    for pattern, count in orders.items():
        for letter in pattern:
            roles[_ROLES[letter]] += count
    shown = {"-".join(_ROLES[c] for c in p): n for p, n in orders.most_common(10)}
    return {"roles": dict(roles.most_common()), "orders": shown}
