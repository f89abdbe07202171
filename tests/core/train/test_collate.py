from __future__ import annotations

import torch

from core.train.collate import Collator


def test_padding_is_a_document_of_its_own_without_loss() -> None:
    long = {"input_ids": [1, 2, 3, 4, 5], "labels": [-100, 2, 3, -100, 5],
            "position_ids": [0, 1, 2, 0, 1]}  # fmt: skip
    short = {"input_ids": [6, 7], "labels": [-100, 7], "position_ids": [0, 1]}
    batch = Collator(pad_token_id=9)([long, short])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [6, 7, 9, 9, 9]]
    assert batch["rows"].tolist() == [0, 1, 3, 5]
    assert batch["targets"].tolist() == [2, 3, 5, 7]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
    assert batch["input_ids"].dtype == torch.int64
    assert "attention_mask" not in batch
    assert (batch["tokens"], batch["label_tokens"]) == (7, 4)


def test_the_first_token_of_a_row_is_never_predicted() -> None:
    row = {"input_ids": [1, 2], "labels": [1, 2], "position_ids": [0, 1]}
    assert Collator(0)([row])["label_tokens"] == 1


def test_rows_of_one_document_each_need_no_positions() -> None:
    rows = [
        {"input_ids": [1, 2, 3], "labels": [-100, 2, 3], "position_ids": [0, 1, 2]},
        {"input_ids": [4], "labels": [-100], "position_ids": [0]},
    ]
    batch = Collator(0)(rows)
    assert "position_ids" not in batch
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0]]
