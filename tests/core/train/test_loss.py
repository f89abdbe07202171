"""The loss is the model's own, documents do not see each other, evaluation costs no gradient."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from core.model.adapters import attach
from core.model.load import load_base, load_tokenizer
from core.record.job import Job
from core.train import loss, trainer
from core.train.arguments import sft_config
from core.train.collate import Collator
from core.train.saving import trained
from core.train.tally import Tally

if TYPE_CHECKING:
    from conftest import Lab

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def made(lab: Lab) -> trainer.DurableTrainer:
    """A trainer that stands before its first step."""
    folder, config = lab.run("loss")
    config.adapter.lora_dropout = 0.0
    data = lab.frozen(Job("train", folder, config, lambda event: None))
    torch.manual_seed(3)
    model = attach(load_base(config, quantized=True, device="cpu"), config)
    for name, parameter in trained(model):
        if "lora_B" in name:
            parameter.data.normal_(std=0.02)
    return trainer.DurableTrainer(
        job=Job("train", folder, config, lambda event: None),
        tally=Tally(),
        model=model,
        args=sft_config(config, folder.path, device="cpu", dtype=torch.float32),
        data_collator=Collator(256),
        train_dataset=data.train,
        eval_dataset=data.evaluation,
        processing_class=load_tokenizer(config),
    )


def document(first: int, size: int) -> dict[str, list[int]]:
    tokens = [(first + n) % 256 for n in range(size)]
    return {
        "input_ids": tokens, "labels": [-100, *tokens[1:]], "position_ids": list(range(size)),
    }  # fmt: skip


def joined(*documents: dict[str, list[int]]) -> dict[str, list[int]]:
    return {name: [x for doc in documents for x in doc[name]] for name in documents[0]}


def logits(made: trainer.DurableTrainer, rows: list[dict[str, list[int]]]) -> torch.Tensor:
    batch = Collator(256)(rows)
    made.model.eval()
    with torch.no_grad():
        out: torch.Tensor = made.model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).logits
    return out


def test_a_document_is_deaf_to_its_neighbours(made: trainer.DurableTrainer) -> None:
    """Exactly 0.0: with padding, in a batch of two, whatever the other document says."""
    b, short = document(100, 12), document(7, 5)
    one = logits(made, [joined(document(1, 20), b), short])
    other = logits(made, [joined(document(50, 20), b), document(9, 32)])
    assert (one[0, 20:32] - other[0, 20:32]).abs().max().item() == 0.0
    assert (one[0, :20] - other[0, :20]).abs().max().item() > 0.0


def test_packed_padded_and_alone_give_the_same_loss(made: trainer.DurableTrainer) -> None:
    a, b = document(1, 20), document(100, 12)
    made.model.eval()
    with torch.no_grad():
        apart = sum(made.summed_loss(made.model, Collator(256)([row])) for row in (a, b))
        packed = made.summed_loss(made.model, Collator(256)([joined(a, b)]))
        padded = made.summed_loss(made.model, Collator(256)([a, b]))
    assert torch.allclose(packed, torch.as_tensor(apart), rtol=1e-5)
    assert torch.allclose(padded, torch.as_tensor(apart), rtol=1e-5)


def test_the_loss_is_the_models_own(made: trainer.DurableTrainer) -> None:
    rows = [document(1, 21), joined(document(100, 12), document(3, 9))]
    batch = Collator(256)(rows)
    made.model.eval()
    with torch.no_grad():
        theirs = made.model(
            input_ids=batch["input_ids"],
            position_ids=batch["position_ids"],
            labels=torch.tensor([row["labels"] for row in rows]),
        ).loss
        ours = made.compute_loss(made.model, batch)
    assert torch.allclose(ours, theirs, rtol=1e-5)
    assert batch["label_tokens"] == 20 + 11 + 8


def test_the_loss_is_the_same_by_rows_in_chunks_and_from_all_logits(
    made: trainer.DurableTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Collator(256)([document(1, 30), document(100, 6)])
    by_rows = loss.LabelLoss(made.model)
    assert by_rows.by_rows
    whole = loss.LabelLoss(made.model)
    whole.by_rows = False
    made.model.eval()
    expected = by_rows(batch)
    assert torch.allclose(whole(batch), expected, rtol=1e-5)
    monkeypatch.setattr(by_rows, "_chunk_rows", 7)
    assert torch.allclose(by_rows(batch), expected, rtol=1e-5)


def test_a_model_that_scales_its_logits_computes_them_all(
    made: trainer.DurableTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    causal = made.model.get_base_model()
    forward = causal.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = torch.tanh(out.logits / 2) * 2
        return out

    monkeypatch.setattr(causal, "forward", scaled)
    assert not loss.LabelLoss(made.model).by_rows


def test_a_batch_without_a_label_is_zero_and_survives_its_backward(
    made: trainer.DurableTrainer,
) -> None:
    row = document(1, 8) | {"labels": [-100] * 8}
    made.model.train()
    total = made.summed_loss(made.model, Collator(256)([row]))
    total.backward()
    assert total.item() == 0.0


def test_the_adapter_keeps_full_precision_through_the_trainer(
    made: trainer.DurableTrainer,
) -> None:
    assert {p.dtype for _, p in trained(made.model)} == {torch.float32}
    values = torch.cat([p.detach().flatten() for _, p in trained(made.model)])
    assert not torch.equal(values, values.bfloat16().float()), "rounded to bf16 on the way"


def gradients(made: trainer.DurableTrainer, parts: list[list[dict[str, Any]]]) -> torch.Tensor:
    """Of one step made of these micro-batches."""
    made.model.train()
    made.model.zero_grad()
    batches = [Collator(256)(rows) for rows in parts]
    total = made._get_num_items_in_batch(batches, None)
    for batch in batches:
        made.compute_loss(made.model, batch, num_items_in_batch=total).backward()
    return torch.cat([p.grad.flatten().clone() for _, p in trained(made.model)])


def test_accumulation_does_not_change_the_step(made: trainer.DurableTrainer) -> None:
    """However unequal the micro-batches are."""
    a, b, c = document(1, 30), document(100, 6), document(40, 11)
    whole = gradients(made, [[a, b, c]])
    for parts in ([[a], [b], [c]], [[a, b], [c]]):
        assert torch.allclose(gradients(made, parts), whole, rtol=1e-3, atol=1e-6)
    assert whole.abs().max() > 1e-4


def test_an_evaluation_takes_no_gradient_away(made: trainer.DurableTrainer) -> None:
    """bitsandbytes repacks 4-bit weights in eval mode on some processors; no gradient after."""
    rows = [[document(1, 30)], [document(100, 6)]]
    before = gradients(made, copy.deepcopy(rows))
    drawn = torch.get_rng_state()
    made.model_wrapped = made.model
    first = made._held_out_loss()
    assert made._held_out_loss() == first
    torch.set_rng_state(drawn)
    assert torch.equal(gradients(made, rows), before)


def test_a_training_that_evaluates_first_still_learns(lab: Lab) -> None:
    from core.record import events as ev

    folder, config = lab.run(
        "learns",
        {"train.max_steps": 14, "train.save_steps": 0, "train.learning_rate": 3e-3,
         "train.lr_scheduler_type": "constant", "evaluate.eval_steps": 14},
    )  # fmt: skip
    outcome = lab.train(folder, config)
    first, last = outcome.of(ev.EvalDone)
    assert first.step == 0
    assert last.loss < first.loss - 0.1
    losses = [event.loss for event in outcome.of(ev.StepDone)]
    assert sum(losses[-2:]) / 2 < sum(losses[:2]) / 2 - 0.3
