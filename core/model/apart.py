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
"""Of the logits' size: experts and GPU kernels may round a row otherwise beside another one."""


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
    vocab = model.config.get_text_config().vocab_size
    row = torch.arange(_TOKENS, device=model.device) % vocab
    places = torch.arange(_TOKENS, device=model.device).repeat(2)[None]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            first, second = (
                model(
                    input_ids=torch.cat([before % vocab, row])[None], position_ids=places,
                    use_cache=False,
                ).logits[0, _TOKENS:].float()
                for before in (row + 1, row * 7 + 3)
            )  # fmt: skip
    except TypeError:
        return False  # it takes no positions
    finally:
        model.train(training)
    return bool((first - second).abs().max() <= _SHARE * first.abs().max())
