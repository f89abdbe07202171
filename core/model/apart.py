"""Whether rows that share a sequence see each other: tried on the loaded model, before it learns.

Positions that begin anew tell most models of transformers where a row ends. Some do not listen
(OPT, Falcon, linear attention as in Qwen3-Next), and would learn from their neighbours, unseen.
"""

from __future__ import annotations

from typing import Any

import torch

from core.config.errors import InputError

_TOKENS = 16
_SHARE = 0.01
"""Of the logits' size: experts and GPU kernels may round a row otherwise beside another one. Where
more differs, it is measured what is rounding."""


def check(model: Any) -> None:
    """Raise InputError when a causal model's packed rows do not stay apart."""
    if not rows_stay_apart(model):
        raise InputError(
            f"{type(model).__name__} lets rows that share a sequence see each other: packed, it "
            "would learn from the row before",
            kind="packed_rows_meet",
            remedies=("set data.packing to no, in a new run",),
        )


def rows_stay_apart(model: Any) -> bool:
    """Whether a row has the same logits whatever row stands before it in the sequence."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return _same_beside_others(model)
    except TypeError:
        return False  # it takes no positions
    finally:
        model.train(training)


def _same_beside_others(model: Any) -> bool:
    vocab = model.config.get_text_config().vocab_size
    row = torch.arange(_TOKENS, device=model.device) % vocab
    others = ((row + 1) % vocab, (row * 7 + 3) % vocab)
    first, second = (_logits(model, other, row)[_TOKENS:] for other in others)
    share = _SHARE * first.abs().max()
    if _apart(first, second) <= share:
        return True
    # LLM.int8 keeps columns in 16 bit by what is in the whole batch, and differs by more than the
    # share. A row that comes first cannot see what follows: what differs there is rounding. And
    # beside the same row, before it or behind it, columns are the same.
    ahead, again = (_logits(model, row, other)[:_TOKENS] for other in others)
    noise = _apart(ahead, again)
    moved = max(_apart(first, ahead), _apart(second, again))
    return bool(moved <= share or moved <= noise)


def _logits(model: Any, *rows: torch.Tensor) -> torch.Tensor:
    """The logits of rows that share a sequence, one behind the other."""
    places = torch.cat([torch.arange(len(row), device=row.device) for row in rows])
    found = model(input_ids=torch.cat(rows)[None], position_ids=places[None], use_cache=False)
    logits: torch.Tensor = found.logits[0].float()
    return logits


def _apart(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one - other).abs().max()
