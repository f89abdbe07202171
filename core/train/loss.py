"""Cross-entropy of the label tokens, without ever holding all logits at once.

With a vocabulary of 150,000 the logits of one 4,096-token row take 2.4 GB in fp32, most of them
for tokens that carry no loss. So the output head sees only rows with a label, some at a time, and
computes them once more in the backward pass instead of keeping them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from core.model.activations import LOSS_ROWS_LEAST, LOSS_TILE_LOGITS


class LabelLoss:
    """Sums the cross-entropy over a collated batch, through a causal language model with adapter.

    ``by_rows`` says whether the head may be called on its own: only where it makes the model's
    logits all by itself, which is measured once. Some models scale or cap them afterwards; these
    compute all logits, and the loss is equal either way.
    """

    def __init__(self, model: Any):
        self._model = model
        self._causal = model.get_base_model()
        self._backbone = _backbone(self._causal)
        self.by_rows = self._head_is_all()
        vocab = self._causal.config.get_text_config().vocab_size
        self._chunk_rows = max(LOSS_ROWS_LEAST, LOSS_TILE_LOGITS // vocab)

    def __call__(self, batch: dict[str, Any]) -> torch.Tensor:
        """The sum over the batch's ``targets``, in fp32; a scalar."""
        inputs = {name: batch[name] for name in ("input_ids", "position_ids") if name in batch}
        if self.by_rows:
            hidden = self._backbone(**inputs, use_cache=False).last_hidden_state
            score: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = self._score
        else:
            hidden = self._model(**inputs, use_cache=False).logits
            score = _sum
        rows = hidden.flatten(0, 1).index_select(0, batch["rows"])
        # Zero, yet part of the graph: a batch without a single label must survive its backward.
        total: torch.Tensor = rows[:0].float().sum()
        for chunk, targets in zip(
            rows.split(self._chunk_rows), batch["targets"].split(self._chunk_rows), strict=True
        ):
            # The head has no dropout: there is no random number to draw twice.
            part = checkpoint(score, chunk, targets, use_reentrant=False, preserve_rng_state=False)
            total += part
        return total

    def _score(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return _sum(self._causal.get_output_embeddings()(hidden), targets)

    def _head_is_all(self) -> bool:
        """Compare the head's logits with the model's own on a few tokens."""
        head = self._causal.get_output_embeddings()
        training = self._model.training
        self._model.eval()
        tokens = torch.arange(8, device=self._causal.device)[None]
        with torch.no_grad():
            hidden = self._backbone(input_ids=tokens, use_cache=False).last_hidden_state
            alone = head(hidden).float()
            whole = self._model(input_ids=tokens, use_cache=False).logits.float()
        self._model.train(training)
        # Where nothing comes after the head, both did the same arithmetic.
        return torch.allclose(alone, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


def _backbone(causal: Any) -> Any:
    """The model below the head, which some models name otherwise than transformers looks for it."""
    parts = (causal.base_model, causal.get_decoder(), getattr(causal, "model", None))
    return next(part for part in parts if part is not None and part is not causal)


def _sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.float(), targets, reduction="sum")
