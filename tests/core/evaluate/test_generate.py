from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.data.chats.formats import Chat
from core.evaluate.generate import answers, compare, generate, held_out
from core.model.adapters import attach
from core.model.load import load_base, load_tokenizer
from core.record.commands import Aborted
from core.record.events import AnswersCompared, Event, SampleGenerated
from core.record.folder import RunFolder
from core.record.job import Job

torch.set_num_threads(1)
STOP = 258


@pytest.fixture
def config(tiny_model: Path) -> RunConfig:
    values = {
        "model": {"name_or_path": str(tiny_model)},
        "run": {"devices": "cpu"},
        "evaluate": {"max_new_tokens": 6},
    }
    return RunConfig.model_validate(values)


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def job(config: RunConfig, tmp_path: Path, events: list[Event]) -> Job:
    folder = RunFolder(tmp_path / "run")
    folder.data.mkdir(parents=True)
    return Job("generate", folder, config, events.append)


def asked(text: str) -> Chat:
    return [{"role": "user", "content": text}]


def samples(events: Sequence[Event]) -> list[SampleGenerated]:
    return [event for event in events if isinstance(event, SampleGenerated)]


def hold_out(folder: RunFolder, rows: Sequence[tuple[str, str]]) -> None:
    lines = [
        json.dumps({"messages": asked(question), "expected": expected, "file": "f", "line": n})
        for n, (question, expected) in enumerate(rows, 1)
    ]
    (folder.data / "heldout.jsonl").write_text("\n".join(lines) + "\n")


def tokens_alone(config: RunConfig, text: str) -> list[int]:
    """What the model says to one question, without batch and padding, token by token."""
    model = load_base(config, quantized=False, device="cpu")
    tokenizer = load_tokenizer(config)
    prompt = tokenizer.apply_chat_template(asked(text), add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    said: list[int] = []
    for _ in range(6):
        with torch.no_grad():
            token = int(model(torch.tensor([ids + said])).logits[0, -1].argmax())
        if token == STOP:
            break
        said.append(token)
    return said


def numbers(ids: Sequence[int], **_: object) -> str:
    """Stands in for decode: what a random model says is no text, and would look all the same."""
    return " ".join(map(str, ids))


def test_padded_batches_answer_as_single_prompts_do(config: RunConfig) -> None:
    model = load_base(config, quantized=False, device="cpu")
    tokenizer = load_tokenizer(config)
    tokenizer.decode = numbers
    questions = ["Hi", "A much longer question than the first one?", "c", "dd", "eee"]
    seen: list[int] = []
    model.train()
    made = answers(
        model, tokenizer, [asked(q) for q in questions], max_new_tokens=6,
        on_answer=lambda index, answer: seen.append(index),
    )  # fmt: skip
    assert [answer.text for answer in made] == [numbers(tokens_alone(config, q)) for q in questions]
    assert seen == [0, 1, 2, 3, 4]
    assert all(0 < answer.tokens <= 6 and answer.seconds > 0 for answer in made)
    assert model.training


def test_an_answer_ends_at_its_stop_token(config: RunConfig) -> None:
    model = load_base(config, quantized=False, device="cpu")
    tokenizer = load_tokenizer(config)
    first, second = tokens_alone(config, "Hi")[:2]
    tokenizer.decode = numbers
    cut = answers(model, tokenizer, [asked("Hi")], max_new_tokens=6, stop_ids=[first])[0]
    assert (cut.text, cut.tokens) == ("", 1)
    cut = answers(model, tokenizer, [asked("Hi")], max_new_tokens=6, stop_ids=[second])[0]
    expected = ("", 1) if second == first else (str(first), 2)
    assert (cut.text, cut.tokens) == expected
    model.generation_config.eos_token_id = [first, STOP]
    assert answers(model, tokenizer, [asked("Hi")], max_new_tokens=6)[0].text == ""


def test_a_prompt_beyond_the_context_is_cut_not_crashed(config: RunConfig) -> None:
    model = load_base(config, quantized=False, device="cpu")
    made = answers(model, load_tokenizer(config), [asked("x" * 3000)], max_new_tokens=2)
    assert made[0].tokens <= 2


def test_an_abort_is_heard_between_tokens(config: RunConfig) -> None:
    model = load_base(config, quantized=False, device="cpu")
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Aborted

    with pytest.raises(Aborted):
        answers(model, load_tokenizer(config), [asked("Hi")], max_new_tokens=64, check=check)
    assert calls == 2


def test_generate_answers_a_prompt_with_the_models_there_are(job: Job, events: list[Event]) -> None:
    job.params = {"prompt": "Hello?"}
    result = generate(job)
    assert result == {"answers": 1, "models": "base"}
    sample = samples(events)[0]
    assert (sample.model, sample.prompt, sample.expected) == ("base", "Hello?", "")
    assert sample.tokens > 0


def test_generate_asks_base_and_adapter(job: Job, events: list[Event], config: RunConfig) -> None:
    adapted = attach(load_base(config, quantized=True, device="cpu"), config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(0.05)
    adapted.save_pretrained(job.folder.adapter)
    hold_out(job.folder, [("one", "1"), ("two", "2"), ("three", "3")])
    job.params = {"rows": "2"}
    assert generate(job) == {"answers": 4, "models": "base,adapter"}
    found = samples(events)
    assert [(s.model, s.index, s.expected) for s in found] == [
        ("base", 0, "1"), ("base", 1, "2"), ("adapter", 0, "1"), ("adapter", 1, "2"),
    ]  # fmt: skip
    assert found[0].text != found[2].text


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"models": "bass"}, "'bass' is none of base, adapter, merged"),
        ({"prompt": "x", "models": "merged"}, "has no merged model yet"),
        ({"rows": "0"}, "must be a number above 0"),
        ({"rows": "3"}, "has no held-out rows"),
    ],
)
def test_what_cannot_be_generated_is_explained(
    job: Job, params: dict[str, str], message: str
) -> None:
    job.params = params
    with pytest.raises(InputError, match=message):
        generate(job)


def test_a_broken_held_out_row_is_named(job: Job) -> None:
    (job.folder.data / "heldout.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(InputError, match=r"heldout\.jsonl, line 1 is no held-out row"):
        held_out(job.folder, 5)


def test_compare_counts_exact_answers(
    job: Job, events: list[Event], config: RunConfig, tiny_model: Path
) -> None:
    said = load_tokenizer(config).decode(tokens_alone(config, "one"), skip_special_tokens=True)
    hold_out(job.folder, [("one", said + "\n"), ("two", "never"), ("three", "x"), ("four", "y")])
    job.folder.merged.symlink_to(tiny_model)
    event = compare(job, 4)
    assert event == AnswersCompared(rows=4, base_matches=1, merged_matches=1)
    assert event in events
    shown = [(s.index, s.model) for s in samples(events)]
    assert shown == [(n, model) for n in range(3) for model in ("base", "merged")]
    path = job.folder.evaluation / "comparison.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    assert lines[0]["base"] == lines[0]["merged"] == said
    assert [line["merged_match"] for line in lines] == [True, False, False, False]
    assert path.stat().st_mode & 0o777 == 0o600


def test_compare_without_rows_is_nothing(job: Job) -> None:
    assert compare(job, 4) is None
    hold_out(job.folder, [("one", "1")])
    assert compare(job, 0) is None
