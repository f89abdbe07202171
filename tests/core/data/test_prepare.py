"""The job: frozen data, its account, and what a kill, a change or a second start finds."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import CHATML, ZEPHYR, ModelMaker

from core.config.errors import FailedError, InputError, RefusedError
from core.config.schema import RunConfig
from core.data import prepare as module
from core.data import proof
from core.data.chats.chat import Chat, Defect
from core.data.inspect import inspect
from core.data.prepare import load_frozen, prepare
from core.data.tokens.codec import ChatCodec, Encoded
from core.record import events as ev
from core.record.commands import Aborted
from core.record.folder import RunFolder
from core.record.job import Job

JobMaker = Callable[..., Job]


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [
        {"instruction": f"Question {n}?", "input": "", "output": f"Answer {n}. " * (1 + n % 5)}
        for n in range(start, start + count)
    ]


@pytest.fixture
def make_job(tmp_path: Path, make_model: ModelMaker) -> JobMaker:
    def make(files: list[Path], model: Path | None = None, **data: Any) -> Job:
        config = RunConfig.model_validate(
            {
                "model": {"name_or_path": str(model or make_model(CHATML))},
                "data": {"files": [str(f) for f in files], "max_length": 128} | data,
            }
        )
        folder = RunFolder(tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}")
        folder.path.mkdir()
        told: list[ev.Event] = []
        job = Job(name="prepare", folder=folder, config=config, emit=told.append)
        job.params = {"told": told}  # type: ignore[dict-item]
        return job

    return make


def told(job: Job, kind: type[ev.Event]) -> list[Any]:
    return [event for event in job.params["told"] if isinstance(event, kind)]


@pytest.fixture
def no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the comparison with transformers, which costs seconds to import."""
    monkeypatch.setattr(module, "prove", lambda *_: None)


@pytest.mark.usefixtures("no_proof")
def test_rows_in_are_rows_kept_and_rejected(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    good = rows(40)
    long = {"instruction": "Long " * 200, "output": "cut"}
    path = write_lines(*good, b"{broken", {"instruction": "q"}, good[3], b"", long)
    job = make_job([path])
    result = prepare(job)
    (event,) = told(job, ev.DataPrepared)
    assert (event.read, event.kept, event.rejected) == (44, 40, 4)
    assert (event.train_rows, event.eval_rows) == (36, 4)
    assert result["sha256"] == event.sha256
    report = json.loads((job.folder.data / "report.json").read_text())
    assert report["rejected"] == {
        "not_json": 1, "missing_answer": 1, "duplicate": 1, "answer_cut_off": 1,
    }  # fmt: skip
    assert report["blank_lines"] == 1
    assert report["files"][0]["read"] == 44
    rejected = [
        json.loads(line) for line in (job.folder.data / "rejected.jsonl").read_text().splitlines()
    ]
    assert {(entry["line"], entry["reason"]) for entry in rejected} == {
        (41, "not_json"), (42, "missing_answer"), (43, "duplicate"), (45, "answer_cut_off"),
    }  # fmt: skip
    assert all(entry["file"] == str(path) and entry["raw"] for entry in rejected)
    assert not list(job.folder.data.glob("*.spool"))
    assert stat.S_IMODE(job.folder.data.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in job.folder.data.iterdir()} == {0o600}
    stages = [event.stage for event in told(job, ev.StageChanged)]
    assert stages == ["reading", "tokenizing", "proving", "packing", "freezing"]


@pytest.mark.usefixtures("no_proof")
def test_a_sample_of_a_hub_is_on_record(
    make_job: JobMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "finetui" / "hub" / "owner--name@abc-40-42"
    folder.mkdir(parents=True)
    path = folder / "owner--name@abc-40-42.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(40)))
    about: dict[str, Any] = {
        "file": path.name, "repo": "owner/name", "revision": "abc", "asked": [""], "pattern": "",
        "files": 7, "size_bytes": 9 * 10**9, "wanted_rows": 40, "rows": 40, "seed": 42,
        "files_read": 3, "from_beginning": 2, "left_out": [], "streamed": "2026-11-26",
        "sample_bytes": path.stat().st_size,
    }  # fmt: skip
    (folder / "sample.json").write_text(json.dumps(about))
    job = make_job([Path("owner/name")], hub_sample_rows=40)
    assert prepare(job)["read"] == 40
    report = json.loads((job.folder.data / "report.json").read_text())
    assert report["samples"] == [{k: v for k, v in about.items() if k != "file"}]
    (line,) = [one.text for one in told(job, ev.LineLogged) if "a sample of" in one.text]
    assert line == (
        "owner/name@abc: a sample of 40 rows from 3 of 7 files (9.0 GB), seed 42, streamed "
        "2026-11-26; of 2 files only the beginning (packed, or of a "
        "kind read in order)"
    )


@pytest.mark.usefixtures("no_proof")
@pytest.mark.parametrize("packing", [True, False])
def test_what_was_frozen_is_what_the_codec_says(
    packing: bool, make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    job = make_job([write_lines(*rows(30))], packing=packing)
    prepare(job)
    frozen = load_frozen(job.folder)
    assert frozen.evaluation is not None
    codec = ChatCodec.load(job.config.model.name_or_path)
    wanted = {}
    for row in rows(30):
        chat = [
            {"role": "user", "content": row["instruction"]},
            {"role": "assistant", "content": row["output"]},
        ]
        encoded = codec.encode(chat, 128)
        wanted[tuple(encoded.ids)] = encoded.labels
    found: dict[tuple[int, ...], list[int]] = {}
    for sequence in [*frozen.train, *frozen.evaluation]:
        assert len(sequence["input_ids"]) <= 128
        starts = [n for n, p in enumerate(sequence["position_ids"]) if p == 0]
        assert packing or len(starts) == 1
        for start, end in zip(starts, [*starts[1:], len(sequence["input_ids"])], strict=True):
            assert sequence["position_ids"][start:end] == list(range(end - start))
            assert sequence["labels"][start] == -100
            found[tuple(sequence["input_ids"][start:end])] = sequence["labels"][start:end]
    assert found == wanted
    report = frozen.report
    assert report["train"]["tokens"] + report["eval"]["tokens"] == sum(map(len, wanted))
    assert (report["train"]["packing_efficiency"] is not None) == packing
    assert report["train"]["sequences"] == len(frozen.train)
    assert report["train"]["stop_token_trained_rows"] == 27


@pytest.mark.usefixtures("no_proof")
def test_the_same_seed_gives_the_same_data_and_another_seed_another(
    make_job: JobMaker, write_lines: Callable[..., Path], make_model: ModelMaker
) -> None:
    path, model = write_lines(*rows(50)), make_model(CHATML)
    digests = [
        prepare(make_job([path], model, seed=seed, max_train_samples=20))["sha256"]
        for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]
    job = make_job([path], model, max_train_samples=20)
    prepare(job)
    (event,) = told(job, ev.DataPrepared)
    assert (event.train_rows, event.eval_rows, event.rejected) == (18, 2, 30)


@pytest.mark.usefixtures("no_proof")
def test_long_rows_are_tokenized_a_few_at_a_time(
    make_job: JobMaker, write_lines: Callable[..., Path], make_model: ModelMaker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, model = write_lines(*rows(50)), make_model(CHATML)
    many = prepare(make_job([path], model))["sha256"]
    sizes: list[int] = []
    encode = ChatCodec.encode_many

    def counting(codec: ChatCodec, chats: Sequence[Chat]) -> list[Encoded | Defect]:
        sizes.append(len(chats))
        return encode(codec, chats)

    monkeypatch.setattr(ChatCodec, "encode_many", counting)
    monkeypatch.setattr(module, "_BATCH_CHARS", 100)
    assert prepare(make_job([path], model))["sha256"] == many
    assert 1 < max(sizes) < 10


@pytest.mark.usefixtures("no_proof")
def test_held_out_rows_are_written_and_not_learned(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    train = write_lines(*rows(10), name="train.jsonl")
    held = write_lines(*rows(3, start=8), name="held.jsonl")
    job = make_job([train], eval_files=[str(held)])
    prepare(job)
    (event,) = told(job, ev.DataPrepared)
    assert (event.train_rows, event.eval_rows) == (10, 1)
    lines = (job.folder.data / "heldout.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "messages": [{"role": "user", "content": "Question 10?"}],
            "expected": "Answer 10. ",
            "file": str(held),
            "line": 3,
        }
    ]
    report = json.loads((job.folder.data / "report.json").read_text())
    assert report["rejected"] == {"repeats_training_row": 2}


@pytest.mark.usefixtures("no_proof")
def test_without_held_out_rows_there_is_no_evaluation(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    job = make_job([write_lines(*rows(1))])
    prepare(job)
    assert load_frozen(job.folder).evaluation is None
    assert "fewer than one step" in told(job, ev.LineLogged)[-1].text


@pytest.mark.usefixtures("no_proof")
def test_what_was_repaired_and_found_is_logged(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    dirty = [
        {"prompt": "Wie?", "completion": "CafÃ©\x07 fÃ¼r alle"},
        {"prompt": "Whom?", "completion": "maria.huber@feldpost-verlag.de, in the cafÃ©"},
    ]
    job = make_job([write_lines(*rows(20), *dirty)])
    prepare(job)
    (line,) = [one.text for one in told(job, ev.LineLogged) if one.text.startswith("noted: ")]
    assert line == ("noted: mojibake in 2 rows, control_characters in 1 row, email_found in 1 row")


@pytest.mark.usefixtures("no_proof")
def test_nothing_is_left_of_a_preparation_that_fails(
    make_job: JobMaker, write_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job([write_lines(*rows(20))])
    with monkeypatch.context() as patch:
        patch.setattr(module, "digest", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(job)
    assert list(job.folder.path.iterdir()) == []
    job.control.take("Abort")
    with pytest.raises(Aborted):
        prepare(job)
    assert list(job.folder.path.iterdir()) == []


@pytest.mark.usefixtures("no_proof")
def test_what_a_kill_left_behind_is_never_used(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    job = make_job([write_lines(*rows(20))])
    (job.folder.path / ".data.staging").mkdir()
    (job.folder.path / ".data.staging" / "train.arrow").write_bytes(b"half")
    prepare(job)
    assert [path.name for path in job.folder.path.iterdir()] == ["data"]
    assert len(load_frozen(job.folder).train) > 0


@pytest.mark.usefixtures("no_proof")
def test_a_second_start_uses_what_is_frozen_even_when_the_file_is_gone(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    path = write_lines(*rows(20))
    job = make_job([path])
    first = prepare(job)
    path.unlink()
    assert prepare(job) == first
    changed = job.config.model_copy(deep=True)
    changed.data.max_length = 64
    job.config = changed
    with pytest.raises(RefusedError, match="other settings"):
        prepare(job)


@pytest.mark.usefixtures("no_proof")
@pytest.mark.parametrize("damage", ["bit", "cut", "missing_eval", "missing_report"])
def test_changed_data_is_refused(
    damage: str, make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    job = make_job([write_lines(*rows(20))])
    prepare(job)
    train = job.folder.data / "train.arrow"
    content = bytearray(train.read_bytes())
    if damage == "bit":
        token = np.array([load_frozen(job.folder).train[0]["input_ids"][:8]], dtype="<i4").tobytes()
        content[content.index(token)] ^= 1
        train.write_bytes(content)
    elif damage == "cut":
        train.write_bytes(content[: len(content) // 2])
    else:
        name = "eval.arrow" if damage == "missing_eval" else "report.json"
        (job.folder.data / name).unlink()
    with pytest.raises(RefusedError) as caught:
        load_frozen(job.folder)
    assert caught.value.kind == "data_changed"
    assert caught.value.remedies


@pytest.mark.usefixtures("no_proof")
def test_data_without_anything_to_learn_is_refused_in_words(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    pairs = write_lines(*[{"prompt": f"{n}", "chosen": "a", "rejected": "b"} for n in range(3)])
    with pytest.raises(InputError, match="3 rows read, 0 kept; rejected: 3 preference_pair"):
        prepare(make_job([pairs]))
    long = write_lines({"instruction": "Long " * 200, "output": "cut"}, name="long.jsonl")
    with pytest.raises(InputError, match="1 answer_cut_off"):
        prepare(make_job([long]))
    good, bad = write_lines(*rows(5), name="good.jsonl"), write_lines({"x": 1}, name="bad.jsonl")
    with pytest.raises(InputError, match="eval_files"):
        prepare(make_job([good], eval_files=[str(bad)]))


@pytest.mark.usefixtures("no_proof")
def test_inspecting_counts_as_preparing_does(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    path = write_lines(*rows(10), b"{", {"instruction": "Long " * 200, "output": "cut"})
    job = make_job([path])
    prepare(job)
    report = json.loads((job.folder.data / "report.json").read_text())
    codec = ChatCodec.load(job.config.model.name_or_path)
    found = inspect(job.config, codec).as_dict()
    for key in ("read", "kept", "rejected", "formats", "notes", "blank_lines", "files"):
        assert found[key] == report[key], key
    assert found["format"] == "alpaca"
    assert [(p["line"], p["reason"]) for p in found["problems"]] == [
        (11, "not_json"), (12, "answer_cut_off"),
    ]  # fmt: skip
    assert found["tokens"]["rows"] == 10
    assert found["model"] == report["tokenizer"]
    assert found["fingerprint"] == report["fingerprint"]
    assert "tokens" not in inspect(job.config).as_dict()


@pytest.mark.usefixtures("no_proof")
@pytest.mark.parametrize("leaks", ["exact", "near"])
def test_inspecting_evaluation_files_counts_as_preparing_does(
    leaks: str, make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    long = [{"instruction": f"Long {n} " * 200, "output": "cut"} for n in range(4)]
    words = " ".join(f"word{n}" for n in range(60))
    first = {"instruction": words, "output": "yes"}
    path = write_lines(first, *rows(20), *long, name="own.jsonl")
    held = write_lines(
        *rows(8, start=16), long[0], {"x": 1}, first | {"output": "Yes!"}, name="held.jsonl"
    )
    given = [str(held)]
    job = make_job([path], eval_files=given, leaks=leaks, max_train_samples=23, max_length=64)
    prepare(job)
    report = json.loads((job.folder.data / "report.json").read_text())
    found = inspect(job.config, ChatCodec.load(job.config.model.name_or_path)).as_dict()
    for key in ("read", "kept", "rejected", "formats", "files", "leaks", "fingerprint"):
        assert found[key] == report[key], key
    assert report["rejected"]["not_sampled"] == 2
    assert report["leaks"]["exact"] > 0
    training = found["statistics"]["training"]
    assert training["train_rows"] == report["train"]["rows"]
    assert training["held_out_rows"] == report["eval"]["rows"]
    assert training["sequences_an_epoch"] == report["train"]["sequences"]
    assert {Path(one["file"]).name for one in found["sources"]} == {"own.jsonl", "held.jsonl"}
    assert {Path(p["file"]).name for p in found["problems"]} == {"own.jsonl", "held.jsonl"}
    assert sum(found["rejected"].values()) == len(found["problems"])


@pytest.mark.usefixtures("no_proof")
@pytest.mark.parametrize("packing", [True, False])
def test_sequences_of_raw_texts_are_foreseen(
    packing: bool, make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    path = write_lines(*[{"text": f"{n} " + "word " * (7 * n)} for n in range(40)])
    job = make_job([path], packing=packing, max_length=32)
    prepare(job)
    report = json.loads((job.folder.data / "report.json").read_text())
    codec = ChatCodec.load(job.config.model.name_or_path)
    training = inspect(job.config, codec).facts["training"]
    assert report["train"]["sequences"] > report["train"]["rows"]
    assert training["sequences_an_epoch"] == report["train"]["sequences"]
    assert training["sequences_are_exact"]


@pytest.mark.usefixtures("no_proof")
def test_evaluation_files_without_a_usable_row(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    path = write_lines(*rows(9), name="own.jsonl")
    same, bad = write_lines(*rows(3), name="same.jsonl"), write_lines({"x": 1}, name="bad.jsonl")
    for file, said in ((same, "repeats a training row"), (bad, "can be used")):
        job = make_job([path], eval_files=[str(file)])
        with pytest.raises(InputError, match=said) as caught:
            prepare(job)
        assert f"finetui inspect {file}" in " ".join(caught.value.remedies)
        report = inspect(job.config)
        assert not report.usable
        assert said in report.verdict[0].text
    page = write_lines(b"<!DOCTYPE html><html></html>", name="page.jsonl")
    job = make_job([path], eval_files=[str(page)])
    for look in (prepare, lambda job: inspect(job.config)):
        with pytest.raises(InputError, match="page"):
            look(job)


def test_a_field_to_stratify_by_must_be_there(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    job = make_job([write_lines(*rows(9))], stratify_by="nope")
    for look in (prepare, lambda job: inspect(job.config)):
        with pytest.raises(InputError, match="no row has a field nope"):
            look(job)


def test_our_tokens_are_proven_to_be_those_of_transformers(
    make_job: JobMaker, write_lines: Callable[..., Path], make_model: ModelMaker
) -> None:
    job = make_job([write_lines(*rows(20))])
    prepare(job)
    codec = ChatCodec.load(str(make_model(ZEPHYR)))
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(FailedError, match="differ from transformers' at token 0") as caught:
        proof.prove(codec, job.config, [chat])
    assert caught.value.kind == "tokenizer_mismatch"


def test_a_model_without_template_is_proven_with_the_plain_one(
    make_job: JobMaker, write_lines: Callable[..., Path], make_model: ModelMaker
) -> None:
    job = make_job([write_lines(*rows(20))], make_model(None))
    prepare(job)
    report = json.loads((job.folder.data / "report.json").read_text())
    assert "finetui" in report["tokenizer"]["template"]
    assert "### Response:" in report["chat_template"]


@pytest.mark.usefixtures("no_proof")
def test_content_that_is_not_learned_is_said_before_the_training(
    make_job: JobMaker, write_lines: Callable[..., Path]
) -> None:
    job = make_job([write_lines(*[row | {"choices": ["x", "y"], "id": 3} for row in rows(20)])])
    prepare(job)
    (line,) = [one for one in told(job, ev.LineLogged) if "looks like content" in one.text]
    assert line.level == "warning"
    assert "choices in 20 rows" in line.text
