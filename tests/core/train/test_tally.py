from __future__ import annotations

import json
import math
from pathlib import Path

from core.train.checkpoint import STATE
from core.train.tally import Tally


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    tally = Tally(
        step=3, total_steps=9, tokens=12, best_step=2, best_loss=1 / 3,
        window_loss=0.1 + 0.2, window_label_tokens=5, dtypes={"a": "torch.float32"},
    )  # fmt: skip
    tally.save(tmp_path)
    assert Tally.load(tmp_path) == tally


def test_what_an_older_record_lacks_is_as_it_was_then(tmp_path: Path) -> None:
    Tally(micro_batch=4, light=True).save(tmp_path)
    path = tmp_path / STATE
    older = json.loads(path.read_text())
    del older["light"]
    path.write_text(json.dumps(older))
    assert Tally.load(tmp_path) == Tally(micro_batch=4)


def test_complete() -> None:
    assert not Tally().complete
    assert not Tally(step=8, total_steps=9).complete
    assert Tally(step=9, total_steps=9).complete
    assert Tally(step=4, total_steps=9, stopped_early=True).complete


def test_the_best_is_the_lowest_and_nan_never_is() -> None:
    tally = Tally()
    losses = [2.0, math.nan, 2.0, 1.5, 1.6, math.inf]
    best = [tally.take_evaluation(step, loss, threshold=0.0) for step, loss in enumerate(losses)]
    assert best == [True, False, False, True, False, False]
    assert (tally.best_step, tally.best_loss) == (3, 1.5)
    assert tally.evaluations_without_gain == 2


def test_a_gain_below_the_threshold_is_best_but_does_not_count() -> None:
    tally = Tally()
    tally.take_evaluation(1, 2.0, threshold=0.1)
    assert tally.take_evaluation(2, 1.95, threshold=0.1)
    assert (tally.best_step, tally.evaluations_without_gain) == (2, 1)
