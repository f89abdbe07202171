"""The survey: an entry for every row, in file order, and the same account as everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from chat_templates import CHATML, ModelMaker

from core.config.errors import InputError
from core.config.schema import RunConfig
from core.data.survey import Progress, Survey, survey
from core.data.tokens.codec import ChatCodec


def config_of(*files: Path, **data: object) -> RunConfig:
    return RunConfig.model_validate({"data": {"files": [str(f) for f in files], **data}})


def good(number: int) -> dict[str, str]:
    return {"instruction": f"Question {number}?", "output": "Answer."}


def test_every_row_has_its_entry(write_lines: Callable[..., Path]) -> None:
    first = write_lines(good(1), b"{broken", b"", good(2), name="first.jsonl")
    second = write_lines(good(2), {"instruction": "q"}, name="second.jsonl")
    found = survey(config_of(first, second))
    names = [found.reasons[number] for number in found.reason]
    assert names == ["kept", "not_json", "kept", "duplicate", "missing_answer"]
    assert found.line.tolist() == [1, 2, 4, 1, 2]
    assert found.file.tolist() == [0, 0, 0, 1, 1]
    assert found.origin.tolist() == [-1, -1, -1, 2, -1]
    assert found.turns.tolist() == [2, 0, 2, 2, 0]
    assert found.chars.tolist() == [18, 0, 18, 18, 0]
    assert found.files == [str(first), str(second)]
    assert (found.tally.read, found.tally.kept) == (5, 2)
    assert found.tally.balanced
    assert found.complete


def test_a_screen_may_read_while_it_fills(write_lines: Callable[..., Path]) -> None:
    path = write_lines(*[good(number) for number in range(5000)])
    seen: list[int] = []

    def look(running: Survey) -> None:
        assert len(running.reason) == len(running.line) == running.done
        seen.append(running.done)

    survey(config_of(path), on_progress=look)
    assert seen == sorted(seen)
    assert seen[0] < seen[-1] == 5000


def test_a_survey_can_be_ended_from_its_progress(write_lines: Callable[..., Path]) -> None:
    path = write_lines(*[good(number) for number in range(3000)])
    running = Survey(config_of(path))

    def end(_: Survey) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(end)
    assert not running.complete


def test_tokens_are_counted_with_a_codec(
    write_lines: Callable[..., Path], make_model: ModelMaker
) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    long = {"instruction": "Long " * 200, "output": "cut"}
    found = survey(config_of(write_lines(good(1), long), max_length=64), codec)
    assert [found.reasons[number] for number in found.reason] == ["kept", "answer_cut_off"]
    assert 0 < found.loss_tokens[0] < found.tokens[0] <= 64
    assert np.array_equal(found.loss_tokens[1:], [0])


def test_raw_text_is_surveyed_too(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("The first paragraph of a book.\n\nThe second one.\n", encoding="utf-8")
    found = survey(config_of(path))
    assert found.tally.kept == 2
    assert found.patterns[found.roles[0]] == "x"
    assert found.answer_chars.tolist() == [0, 0]
    assert {sample.answer for sample in found.sample} == {
        "The first paragraph of a book.", "The second one.",
    }  # fmt: skip


@pytest.mark.parametrize("raw", [b"\n\n  \n", b"   ", b"\r\r", b"\xef\xbb\xbf\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_a_file_of_blank_lines_is_refused_with_what_to_do(
    name: str, raw: bytes, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(
        InputError, match=r"a\.\w+ has only blank lines: there is no row in it"
    ) as caught:
        survey(config_of(path))
    assert caught.value.remedies == ("write or download it again, or take it out of data.files",)


def test_no_time_to_go_is_told_before_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("core.data.survey.time.monotonic", lambda: now[0])
    progress = Progress(total_bytes=1000)
    assert progress.remaining_seconds is None
    now[0] += 2  # processes start
    progress.reach(100)
    now[0] += 1
    progress.reach(200)
    assert progress.remaining_seconds is None  # a guess as yet
    now[0] += 3
    progress.reach(500)
    assert progress.remaining_seconds == 5  # 100 bytes a second since the first piece
    progress.reach(1000)
    assert progress.remaining_seconds == 0
