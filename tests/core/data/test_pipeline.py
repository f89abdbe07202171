"""The whole way: no row lost, the trainer sees exactly the kept ones, whatever they came in."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from chat_templates import CHATML, ModelMaker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.config.errors import FailedError, InputError
from core.config.schema import RunConfig
from core.data import prepare as module
from core.data.inspect import inspect
from core.data.overlay import Overlay
from core.data.prepare import load_frozen, prepare
from core.data.read.encoding import Transcoded
from core.data.read.sources import read_rows
from core.data.survey import Survey, survey
from core.data.tokens.codec import ChatCodec
from core.record import events as ev
from core.record.folder import RunFolder
from core.record.job import Job

Prepare = Callable[..., tuple[Job, dict[str, Any]]]


def good(number: int, **more: Any) -> dict[str, Any]:
    return {"instruction": f"Question {number}?", "output": f"Answer {number}."} | more


@pytest.fixture
def run(tmp_path: Path, make_model: ModelMaker, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Prepare files; the comparison with transformers, which costs seconds, is left out."""
    monkeypatch.setattr(module, "prove", lambda *_: None)
    model = make_model(CHATML)

    def start(*files: Path, **data: Any) -> tuple[Job, dict[str, Any]]:
        named = {"files": [str(file) for file in files], "max_length": 64, "packing": False}
        config = RunConfig.model_validate(
            {"model": {"name_or_path": str(model)}, "data": named | data}
        )
        folder = RunFolder(tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}")
        folder.path.mkdir()
        told: list[ev.Event] = []
        job = Job(name="prepare", folder=folder, config=config, emit=told.append)
        job.params = {"told": told}  # type: ignore[dict-item]
        prepare(job)
        return job, json.loads((folder.data / "report.json").read_text())

    return start


def rejected(job: Job) -> list[dict[str, Any]]:
    text = (job.folder.data / "rejected.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def learned(job: Job) -> Counter[tuple[int, ...]]:
    """Every sequence that the trainer and its evaluation get."""
    frozen = load_frozen(job.folder)
    rows = [*frozen.train, *(frozen.evaluation or [])]
    return Counter(tuple(row["input_ids"]) for row in rows)


LINE = st.one_of(
    st.integers(0, 9).map(lambda n: json.dumps(good(n)).encode()),
    st.integers(0, 9).map(lambda n: json.dumps(good(n), indent=None).encode() + b"  "),
    st.sampled_from(
        [b"", b"  ", b"{broken", b"[1]", b"null", b'{"instruction": "q"}', b"\xff\xfe\xfa",
         b'{"instruction": "a", "output": ""}', b'{"x": NaN}', b'{"a": 1, "a": 2}',
         b'{"messages": "no list"}', b'{"chosen": "a", "rejected": "b"}',
         json.dumps({"instruction": "Long " * 90, "output": "cut"}).encode()]
    ),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b" ").replace(b"\0", b" ")),
)  # fmt: skip


@given(lines=st.lists(LINE, max_size=25), ending=st.sampled_from([b"\n", b"\r\n"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_is_lost(lines: list[bytes], ending: bytes, run: Prepare, tmp_path: Path) -> None:
    path = tmp_path / "dirty.jsonl"
    first = json.dumps(good(99)).encode()
    path.write_bytes(ending.join([first, *lines]) + ending)
    try:
        job, report = run(path)
    except InputError as error:  # bytes that make the file binary, or text in another encoding
        if "binary" in error.message or error.kind == "not_utf8":
            return
        raise
    in_file = path.read_bytes().split(b"\n")
    told = rejected(job)
    assert report["read"] == report["kept"] + sum(report["rejected"].values())
    assert report["read"] == sum(bool(line.strip()) for line in in_file)
    assert Counter(entry["reason"] for entry in told) == report["rejected"]
    places = [entry["line"] for entry in told]
    assert len(set(places)) == len(places)
    for entry in told:
        stands = in_file[entry["line"] - 1].strip()
        assert stands
        assert entry["file"] == str(path)
        if entry["reason"] not in ("duplicate", "answer_cut_off"):
            raw = entry["raw"]
            # A file whose bytes are Latin-1 is read as such.
            western = Transcoded(io.BytesIO(stands), "cp1252").read(1 << 20)
            assert raw.encode() in (stands, western) or b"\xef" in raw.encode()
    kept = [n for n, line in enumerate(in_file, 1) if line.strip() and n not in places]
    codec = ChatCodec.load(job.config.model.name_or_path)
    chats = [json.loads(in_file[n - 1]) for n in kept]
    wanted = Counter(
        tuple(codec.encode(
            [{"role": "user", "content": row["instruction"]},
             {"role": "assistant", "content": row["output"]}], 64
        ).ids)
        for row in chats
    )  # fmt: skip
    assert learned(job) == wanted
    assert len(kept) == report["kept"]


def test_the_same_content_in_any_format_is_the_same_data(run: Prepare, tmp_path: Path) -> None:
    rows = [(f"Question {n}, or “more”?", f"Answer {n}.\nNA") for n in range(12)]
    rows.append(rows[0])
    shapes: dict[str, list[dict[str, Any]]] = {
        "alpaca": [{"instruction": q, "input": "", "output": a} for q, a in rows],
        "sharegpt": [
            {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
            for q, a in rows
        ],
        "messages": [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in rows
        ],
        "own": [{"Frage": q, "Antwort": a} for q, a in rows],
    }
    files: dict[str, tuple[Path, dict[str, Any]]] = {}
    for name, values in shapes.items():
        path = tmp_path / f"{name}.jsonl"
        text = "".join(json.dumps(value) + "\n\n" for value in values)
        path.write_text("\n" + text if name == "messages" else text, encoding="utf-8")
        files[name] = (path, {})
    files["own"][1]["columns"] = "prompt=Frage, completion=Antwort"
    for extra in TABLES:
        path = tmp_path / f"table.{extra}"
        TABLES[extra](path, rows)
        files[extra] = (path, {})
    reports = {name: run(path, **more)[1] for name, (path, more) in files.items()}
    for what in ("sha256", "fingerprint", "kept", "rejected"):
        values = {name: json.dumps(report[what]) for name, report in reports.items()}
        assert len(set(values.values())) == 1, (what, values)
    other = run(files["alpaca"][0], max_length=32)[1]
    assert other["fingerprint"]["sha256"] != reports["alpaca"]["fingerprint"]["sha256"]
    assert other["fingerprint"]["content"] == reports["alpaca"]["fingerprint"]["content"]


def _csv(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("prompt", "completion"), *rows])


def _parquet(path: Path, rows: list[tuple[str, str]]) -> None:
    columns = dict(zip(("question", "answer"), zip(*rows, strict=True), strict=True))
    pyarrow.parquet.write_table(pa.table(columns), path)


TABLES: dict[str, Callable[[Path, list[tuple[str, str]]], None]] = {
    "csv": _csv,
    "parquet": _parquet,
}


def test_small_sets_are_seen_more_often_when_weights_ask(
    run: Prepare, write_lines: Callable[..., Path]
) -> None:
    domain = write_lines(*[good(n) for n in range(40)], name="domain.jsonl")
    general = write_lines(*[good(n) for n in range(100, 104)], name="general.jsonl")
    job, report = run(domain, general, weights=[80, 20], eval_fraction=0)
    assert (report["read"], report["kept"], report["train"]["rows"]) == (44, 44, 44)
    assert [share["rows_an_epoch"] for share in report["mix"]] == [40, 10]
    assert sorted(learned(job).values()) == [1] * 40 + [2, 2, 3, 3]
    said = [event.text for event in job.params["told"] if isinstance(event, ev.LineLogged)]  # type: ignore[attr-defined]
    assert "general.jsonl is seen 2.5 times an epoch: 10 of 50 rows (20%)" in said
    with pytest.raises(InputError, match="1 number for 2 entries"):
        run(domain, general, weights=[1])


def test_a_stratified_split_goes_by_a_field(run: Prepare, write_lines: Callable[..., Path]) -> None:
    rows = [good(n, kind="rare" if n % 10 == 0 else "usual") for n in range(100)]
    path = write_lines(*rows)
    job, report = run(path, stratify_by="kind", eval_fraction=0.2)
    lines = (job.folder.data / "heldout.jsonl").read_text().splitlines()
    numbers = [int(json.loads(line)["line"]) - 1 for line in lines]
    assert report["eval"]["rows"] == 20
    assert sum(number % 10 == 0 for number in numbers) == 2
    with pytest.raises(InputError, match="no row has a field colour"):
        run(path, stratify_by="colour")


def test_held_out_rows_that_are_trained_on_are_left_out_and_said(
    run: Prepare, write_lines: Callable[..., Path]
) -> None:
    train = write_lines(*[good(n) for n in range(10)], name="train.jsonl")
    held = write_lines(good(3), good(20), good(20), name="held.jsonl")
    job, report = run(train, eval_files=[str(held)])
    assert report["leaks"] == {"exact": 1, "near": 0, "dropped": 1, "looked_for_near": True}
    assert report["rejected"] == {"duplicate": 1, "repeats_training_row": 1}
    told = {(entry["line"], entry["reason"]): entry for entry in rejected(job)}
    assert told[(1, "repeats_training_row")]["detail"] == f"repeats {train}, line 4"
    assert told[(1, "repeats_training_row")]["raw"].startswith("[{")
    # A row that was not sampled is not trained on.
    report = run(train, eval_files=[str(held)], max_train_samples=1, seed=3)[1]
    assert report["leaks"]["exact"] == 0


def words(start: int, count: int = 40) -> str:
    return " ".join(f"word{number}" for number in range(start, start + count))


def test_held_out_rows_that_nearly_repeat_a_training_row_are_counted_or_left_out(
    run: Prepare, write_lines: Callable[..., Path]
) -> None:
    train = write_lines(
        *[{"prompt": words(n * 50), "completion": words(n * 50)} for n in range(5)], name="a.jsonl"
    )
    held = write_lines(
        {"prompt": words(50).upper(), "completion": words(50)},
        {"prompt": words(9000), "completion": words(9000)},
        name="b.jsonl",
    )
    report = run(train, eval_files=[str(held)], max_length=4096)[1]
    assert report["leaks"] == {"exact": 0, "near": 1, "dropped": 0, "looked_for_near": True}
    assert report["eval"]["rows"] == 2
    job, report = run(train, eval_files=[str(held)], leaks="near", max_length=4096)
    assert report["rejected"] == {"near_training_row": 1}
    assert report["eval"]["rows"] == 1
    (told,) = rejected(job)
    assert told["detail"] == f"shares 100% of its word groups with {train}, line 2"


def test_near_duplicates_are_left_out_when_asked(write_lines: Callable[..., Path]) -> None:
    path = write_lines(
        {"prompt": words(0), "completion": "yes"},
        {"prompt": words(500), "completion": "yes"},
        {"prompt": words(0).title(), "completion": "Yes!"},
    )
    config = RunConfig.model_validate({"data": {"files": [str(path)]}})
    assert survey(config).tally.kept == 3
    config.clean.near_duplicates = True
    found = survey(config)
    assert [found.reasons[n] for n in found.reason] == ["kept", "kept", "near_duplicate"]
    assert found.origin.tolist() == [-1, -1, 0]
    assert [cluster.kept for cluster in found.clusters] == [0]
    assert found.tally.balanced
    folder = found.spool.folder  # type: ignore[union-attr]
    found.close()
    assert not folder.exists()


@pytest.mark.parametrize("change", ["grow", "shrink", "delete"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    change: str, write_lines: Callable[..., Path]
) -> None:
    path = write_lines(*[good(n) for n in range(4000)])
    config = RunConfig.model_validate({"data": {"files": [str(path)]}})

    def disturb(running: Survey) -> None:
        if running.done < 2000 and change == "grow":
            path.write_bytes(path.read_bytes() + b"{}\n")
        elif change == "shrink":
            os.truncate(path, 100)
        elif change == "delete":
            path.unlink(missing_ok=True)

    with pytest.raises(FailedError, match="was changed while it was read") as caught:
        survey(config, on_progress=disturb)
    assert caught.value.kind == "file_changed"


def test_one_process_and_several_find_the_same(
    write_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [good(n % 900) if n % 7 else b"{" for n in range(3000)]
    first = write_lines(*rows, name="a.jsonl")
    second = write_lines(*rows[:50], b'{"instruction": "x", "output": "y"}', name="b.jsonl")
    config = RunConfig.model_validate({"data": {"files": [str(first), str(second)]}})
    alone = survey(config)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr("core.data.survey.IN_PROCESS_BYTES", 0)
    monkeypatch.setattr("core.data.survey.processes", lambda: 2)
    told: list[tuple[int, int]] = []
    shared = Survey(config, spool=spool, on_rejected=lambda n, row: told.append((n, row.line)))
    shared.run()
    for name in ("reason", "line", "file", "origin", "chars", "turns"):
        assert getattr(alone, name).tolist() == getattr(shared, name).tolist(), name
    assert alone.content_sha256 == shared.content_sha256
    assert alone.tally.as_dict() == shared.tally.as_dict()
    assert [s.key for s in alone.sample] == [s.key for s in shared.sample]
    assert told == [(n, int(alone.line[n])) for n in range(alone.done) if alone.reason[n]]
    number = int(shared.kept[-1])
    last = shared.chat(number)
    assert (last.file, last.line, last.chat[0]["content"]) == (str(second), 51, "x")
    shared.close()
    assert not spool.exists()


def test_decisions_by_hand_find_their_rows_in_every_piece(
    write_lines: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_lines(b"", *[good(n) for n in range(200)])
    overlay = Overlay(tmp_path / "rows.overlay")
    rows = list(read_rows([path]))
    overlay.drop(rows[150])
    overlay.edit(rows[199], good(5000))
    values = {"files": [str(path)], "overlay": str(tmp_path / "rows.overlay")}
    monkeypatch.setattr("core.data.pieces.FIRST_BYTES", 500)
    monkeypatch.setattr("core.data.pieces.PIECE_BYTES", 500)
    found = survey(RunConfig.model_validate({"data": values}))
    assert found.tally.rejected == {"dropped_by_hand": 1}
    assert found.tally.notes == {"edited_by_hand": 1}
    assert found.line[found.reason > 0].tolist() == [152]
    assert found.line[found.noted("edited_by_hand")].tolist() == [201]
    found.overlay.check()


def test_a_preparation_killed_halfway_leaves_nothing_that_is_used(
    write_lines: Callable[..., Path], make_model: ModelMaker, tmp_path: Path
) -> None:
    path = write_lines(*[good(n) for n in range(30_000)])
    config = {"model": str(make_model(CHATML)), "files": str(path), "run": str(tmp_path / "run")}
    (tmp_path / "run").mkdir()
    child = subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(config)])
    staging = tmp_path / "run" / ".data.staging"
    deadline = time.monotonic() + 60
    while not list(staging.glob("own/*.chats")) and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(staging.glob("own/*.chats"))
    assert not (tmp_path / "run" / "data").exists()
    path.write_text("".join(json.dumps(good(n)) + "\n" for n in range(20)))
    subprocess.run([sys.executable, "-c", CHILD, json.dumps(config)], check=True)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["data"]
    report = json.loads((tmp_path / "run" / "data" / "report.json").read_text())
    assert report["read"] == report["kept"] == 20


CHILD = """
import json, sys
from core.config.schema import RunConfig
from core.data import prepare
from core.record.folder import RunFolder
from core.record.job import Job
from pathlib import Path
asked = json.loads(sys.argv[1])
prepare.prove = lambda *_: None
config = RunConfig.model_validate(
    {"model": {"name_or_path": asked["model"]}, "data": {"files": asked["files"]}}
)
prepare.prepare(Job("prepare", RunFolder(Path(asked["run"])), config, lambda event: None))
"""


def test_an_inspection_has_the_fingerprint_of_the_preparation(
    run: Prepare, write_lines: Callable[..., Path]
) -> None:
    job, report = run(write_lines(*[good(n) for n in range(30)], good(2)), max_train_samples=20)
    found = inspect(job.config, ChatCodec.load(job.config.model.name_or_path))
    assert found.fingerprint == report["fingerprint"]
    assert report["statistics"]["roles"] == {"user": 20, "assistant": 20}
    assert "few" in report["verdict"][0]["text"]
    bare = inspect(job.config)
    assert bare.fingerprint["content"] == report["fingerprint"]["content"]
    assert bare.fingerprint["tokenizer"] is None
