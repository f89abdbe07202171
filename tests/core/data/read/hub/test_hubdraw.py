"""A sample of a large data set of a hub: drawn over HTTP by the real process, found again after.

Each started process takes two seconds, so that a draw is shared where it can be.
"""

from __future__ import annotations

import errno
import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from local_hub import SHA, LocalHub, served

from core.config.errors import FailedError, InputError
from core.config.schema import RunConfig
from core.data.inspect import inspect
from core.data.read.hub import dataset as datahub
from core.data.read.hub import draw as hubdraw
from core.data.read.hub.dataset import HubName, Plan
from core.data.read.hub.draw import Remote, Request
from core.data.read.hub.sample import Sampling, cache_folder, sample_at
from core.data.read.hub.stream import Target, meant
from core.data.read.paths import expand

ROWS = 400
NAME = "owner/name"


def row(file: int, number: int) -> dict[str, object]:
    plain = {"prompt": f"question {number} of file {file}", "completion": "x" * 400}
    return plain | ({"late": {"n": [number]}} if number > 1900 else {})


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    """A data set of several files, each in the order of its rows, and one file that is broken."""
    folder = tmp_path_factory.mktemp("set")
    for file in range(2):
        lines = [json.dumps(row(file, number)) for number in range(6000)]
        lines[5000:5000] = ["{broken"] * 20
        (folder / f"train-{file}.jsonl").write_text("\n".join(lines))
    values = [row(2, number) | {"late": None} for number in range(2000)]
    pq.write_table(pa.Table.from_pylist(values), folder / "train-2.parquet", row_group_size=200)
    (folder / "bad").mkdir()
    (folder / "bad" / "rows.parquet").write_bytes(b"PAR1" * 99)
    with served(folder) as found:
        yield found


def reach(hub: LocalHub, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """That hub is the hub, here and in the process that streams; and its set is large."""
    patch.setenv("HF_ENDPOINT", hub.endpoint)
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setenv("HF_HUB_OFFLINE", "0")
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    api = partial(huggingface_hub.HfApi, endpoint=hub.endpoint)
    patch.setattr("huggingface_hub.HfApi", api)
    patch.setattr(datahub, "LARGE_BYTES", 1_000_000)
    patch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(autouse=True)
def reached(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reach(hub, tmp_path / "cache", monkeypatch)
    hub.asked.clear()
    hub.gated = False


def draw(seed: int = 1, name: str = NAME) -> tuple[Path, list[str]]:
    said: list[str] = []
    (path,) = expand([name], said.append, Sampling(ROWS, seed))
    return path, said


@pytest.fixture(scope="module")
def drawn(
    hub: LocalHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[str]]]:
    """One draw, in a cache of its own."""
    cache = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        reach(hub, cache, patch)
        yield draw()


@pytest.fixture
def in_cache(
    drawn: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[str]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(drawn[0].parents[3]))
    return drawn


def test_a_sample_is_of_all_files_and_told_in_words(in_cache: tuple[Path, list[str]]) -> None:
    path, said = in_cache
    values = [json.loads(line) for line in path.read_text().splitlines() if line != "{broken"]
    files = Counter(value["prompt"].split()[-1] for value in values)
    assert set(files) == {"0", "1", "2"}
    numbers = sorted(int(value["prompt"].split()[1]) for value in values if value.get("late"))
    assert numbers[0] > 1900
    assert numbers[-1] > 3000, "rows come from behind the first piece of a file too"
    assert len(path.read_text().splitlines()) == ROWS
    assert said[0].endswith("in 3 files: a sample of 400 rows is streamed (data.hub_sample_rows)")
    assert "400 of 400 rows streamed" in said[-2]
    assert said[-1].startswith(f"owner/name@{SHA[:12]}: a sample of 400 rows from 3 of 3 files (")
    sample = sample_at(path)
    assert sample is not None
    assert (sample.revision, sample.rows, sample.seed, sample.asked) == (SHA, ROWS, 1, ("",))
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name, "sample.json"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_sample_is_taken_from_the_cache_without_the_hub(
    in_cache: tuple[Path, list[str]], hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, said = in_cache
    for name in (NAME, f"{NAME}@{SHA}"):
        assert draw(name=name) == (path, said[-1:])
    assert hub.asked == []
    monkeypatch.setattr(hubdraw, "_streamed", None)
    again = draw(name=f"hf://datasets/{NAME}@main")[0]  # another name of the same commit
    assert again == path
    assert len(hub.asked) == 1
    assert draw(name=f"{NAME}@main")[0] == path
    assert len(hub.asked) == 1


def test_the_rows_of_a_sample_add_up(in_cache: tuple[Path, list[str]], hub: LocalHub) -> None:
    config = RunConfig.model_validate(
        {"data": {"files": [NAME], "hub_sample_rows": ROWS, "seed": 1}}
    )
    report = inspect(config)
    tally = report.tally
    assert tally.read == ROWS == tally.kept + tally.rejected.total()
    assert set(tally.rejected) <= {"not_json"}
    plain = report.as_dict()
    assert (
        plain["samples"][0] | {"repo": NAME, "revision": SHA, "rows": ROWS, "seed": 1}
        == (plain["samples"][0])
    )
    assert any("a sample of 400 rows" in finding["text"] for finding in plain["verdict"])
    assert str(cache_folder()) not in json.dumps(plain["samples"])
    assert hub.asked == []


def test_the_seed_decides_which_rows(
    in_cache: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = in_cache[0].read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "again"))
    assert draw(seed=1)[0].read_bytes() == first
    other = draw(seed=2)[0].read_bytes()
    assert set(other.splitlines()) != set(first.splitlines())


def test_a_sample_that_is_ended_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubdraw, "SAY_SECONDS", 0.0)
    said: list[str] = []

    def say(words: str) -> None:
        said.append(words)
        if len(said) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expand([NAME], say, Sampling(ROWS, 5))
    assert "rows" in said[1]
    assert list(cache_folder().iterdir()) == []


def test_errors_on_the_way_are_told_and_leave_nothing(hub: LocalHub) -> None:
    hub.gated = True
    with pytest.raises(InputError, match="no data set 'owner/name' that you may read") as caught:
        draw(seed=3)
    assert any("hf auth login" in remedy for remedy in caught.value.remedies)
    hub.gated = False
    planned = Plan(HubName(NAME, SHA, "bad"), ("bad/rows.parquet",), 396, (396,))
    with pytest.raises(InputError, match=r"owner/name: bad/rows\.parquet is broken"):
        hubdraw.take(planned, None, Sampling(ROWS, 1), lambda _: None)
    assert list(cache_folder().iterdir()) == []


def test_what_an_error_means() -> None:
    request = Request(NAME, (Remote("hf://x", "data/a.parquet", 9),), Sampling(9, 1), "")
    lost = meant(request, 1200, ConnectionError("gone"))
    assert lost.kind == "hub_unreachable"
    assert lost.message.endswith("owner/name (after 1,200 rows, of which none is kept)")
    odd = meant(request, 0, RuntimeError("odd"))
    assert "cannot be streamed: RuntimeError: odd" in odd.message
    assert any("owner/name/data/a.parquet" in remedy for remedy in odd.remedies)
    gone = meant(request, 0, FileNotFoundError("owner/name/a"))
    assert gone.kind == "no_data"


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "rows.part"
    path.write_text("of another process")
    with path.open() as other:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(FailedError, match="the disk is full") as caught, Target(path) as target:
            target.add(b"{}")
        assert other.read() == "of another process"
    assert caught.value.kind == "no_disk_space"
