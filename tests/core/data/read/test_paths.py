"""Names to files: folders, patterns and data sets of a hub."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from core.config.errors import InputError
from core.data.read.hub import dataset as datahub
from core.data.read.hub.dataset import HubName, Plan, named, plan
from core.data.read.paths import absolute_name, check_name, expand
from core.data.read.sources import Row, read_rows


def make(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"a": 1}\n')
    return paths


def test_a_folder_is_its_data_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    make(tmp_path, "b.jsonl", "a.csv", "deep/er/c.json.gz", "README.md", "notes.txt", "x.png",
         ".hidden.jsonl", ".git/x.jsonl", "dataset_infos.json")  # fmt: skip
    found = [str(path.relative_to(tmp_path)) for path in expand([tmp_path])]
    assert found == ["a.csv", "b.jsonl", "deep/er/c.json.gz"]


def test_texts_of_a_folder_are_read_where_nothing_else_is(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a.md", "README.md", "LICENSE.txt")
    assert [path.name for path in expand([tmp_path])] == ["a.md", "b.txt"]


def test_patterns_and_order(tmp_path: Path) -> None:
    make(tmp_path, "2.jsonl", "1.jsonl", "sub/3.jsonl", "x[1].jsonl", "a.png")
    names = [path.name for path in expand([f"{tmp_path}/[12].jsonl", tmp_path / "sub"])]
    assert names == ["1.jsonl", "2.jsonl", "3.jsonl"]
    assert [path.name for path in expand([f"{tmp_path}/**/*.jsonl"])][-1] == "x[1].jsonl"
    assert [path.name for path in expand([f"{tmp_path}/x[1].jsonl"])] == ["x[1].jsonl"]


@pytest.mark.parametrize("name", ["*.jsonl", "nothing/", "empty", "missing.jsonl"])
def test_names_that_mean_nothing_are_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        check_name(name)
    assert caught.value.kind == "no_data"
    assert caught.value.remedies


@pytest.mark.parametrize("name", ["n", "n/*.jsonl", "n/bad\udcff.jsonl"])
def test_a_name_that_is_no_text_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "n/bad\udcff.jsonl", "n/good.jsonl")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"bad\\xff\.jsonl is not UTF-8"):
        check_name(name)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_not_the_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jsonl")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="a name of data is empty"):
        check_name(name)
    check_name(".")


def test_a_link_in_a_folder_that_leads_to_itself_ends(tmp_path: Path) -> None:
    make(tmp_path, "a.jsonl")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [path.name for path in expand([tmp_path])] == ["a.jsonl"]


def test_two_stars_go_through_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jsonl", "sub/b.jsonl", "sub/deep/c.jsonl", ".git/d.jsonl", "x[1]/e.jsonl")
    for name in ("one", "sub/two", "sub/deep/three"):
        (tmp_path / name).symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)

    def found(pattern: str) -> list[str]:
        return [str(path) for path in expand([pattern])]

    every = ["a.jsonl", "sub/b.jsonl", "sub/deep/c.jsonl", "x[1]/e.jsonl"]
    assert found("**/*.jsonl") == found("**") == found("**/**/*.jsonl") == every
    assert found(f"{tmp_path}/**/*.jsonl") == [str(tmp_path / name) for name in every]
    assert found("s*/**/c.jsonl") == ["sub/deep/c.jsonl"]
    assert found("**/deep/*.jsonl") == ["sub/deep/c.jsonl"]
    assert found("one/**/c.jsonl") == ["one/sub/deep/c.jsonl"]


@pytest.mark.parametrize("name", [".", "*.jsonl", "**/*.jsonl"])
def test_empty_files_and_links_to_nothing_are_passed_over_and_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jsonl")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert [str(path) for path in expand([name], said.append)] == ["a.jsonl"]
    assert said == [
        "passed over: empty.jsonl is empty", "passed over: gone.jsonl is a link to nothing",
    ]  # fmt: skip
    check_name(name)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(InputError, match=r"no file that holds data: empty\.jsonl is empty"):
        check_name(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("owner/name", HubName("owner/name")),
        ("owner/name@v1", HubName("owner/name", "v1")),
        ("hf://datasets/owner/name", HubName("owner/name")),
        ("hf://datasets/owner/name@v1/data/*.pq", HubName("owner/name", "v1", "data/*.pq")),
        ("owner/rows.jsonl", None),
        ("rows.jsonl", None),
        ("./owner/name", None),
        ("/owner/name", None),
        ("here/there", None),
        (Path("a/b/c"), None),
    ],
)  # fmt: skip
def test_what_is_a_name_of_the_hub(
    name: str, meant: HubName | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here/there").mkdir(parents=True)
    assert named(name) == meant
    assert absolute_name(str(name)) == (str(name) if meant else str(Path(name).absolute()))


class Hub:
    """Stands in for the hub: some files, and where they would be downloaded to."""

    def __init__(self, folder: Path, files: dict[str, str]):
        self.folder = folder
        self.files = files
        self.loaded: list[str] = []

    def dataset_info(
        self, repo: str, *, revision: str | None, timeout: float, files_metadata: bool
    ) -> Any:
        assert files_metadata
        assert timeout < 60
        if repo == "no/such":
            raise RepositoryNotFoundError("404", response=SimpleNamespace(headers={}, request=None))
        siblings = [
            SimpleNamespace(rfilename=name, size=len(text)) for name, text in self.files.items()
        ]
        return SimpleNamespace(siblings=siblings, sha="abc123")

    def download(self, repo: str, file: str, *, repo_type: str, revision: str) -> str:
        assert (repo_type, revision) == ("dataset", "abc123")
        self.loaded.append(file)
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.files[file])
        return str(path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    row = json.dumps({"prompt": "q", "completion": "a"}) + "\n"
    files = [
        "README.md", "data/train-1.jsonl", "data/train-0.jsonl", "data/test-0.jsonl", "script.py",
        "other/rows.csv",
    ]  # fmt: skip
    stand_in = Hub(tmp_path / "cache", dict.fromkeys(files, row))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: stand_in)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", stand_in.download)
    return stand_in


def test_a_data_set_of_the_hub_is_its_training_files(hub: Hub) -> None:
    said: list[str] = []
    rows = list(read_rows(["owner/name"], say=said.append))
    assert hub.loaded == ["data/train-0.jsonl", "data/train-1.jsonl"]
    assert [type(row) for row in rows] == [Row, Row]
    assert said == ["owner/name: 2 files, 0.0 MB: data/train-0.jsonl, data/train-1.jsonl"]
    large = Plan(HubName("owner/name"), ("data/train-0.parquet", "data/train-1.parquet"), 9 * 10**9)
    assert large.words.endswith("; one alone: hf://datasets/owner/name/data/train-0.parquet")


def test_files_of_a_data_set_can_be_named(hub: Hub) -> None:
    assert plan(HubName("o/n", None, "data/test*")).files == ("data/test-0.jsonl",)
    assert plan(HubName("o/n", None, "other")).files == ("other/rows.csv",)
    with pytest.raises(InputError, match="no file that can be read"):
        plan(HubName("o/n", None, "nothing"))
    hub.files = {"valid.jsonl": "", "rows.jsonl": "", "readme.txt": ""}
    assert plan(HubName("o/n")).files == ("rows.jsonl",)
    hub.files = {"test.csv": ""}
    assert plan(HubName("o/n")).files == ("test.csv",)


def test_errors_of_the_hub_are_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no data set 'no/such'"):
        expand(["no/such"])

    def fails(*args: object, **named: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fails)
    with pytest.raises(InputError, match="cannot be reached") as caught:
        expand(["owner/name"])
    assert caught.value.kind == "hub_unreachable"
    with pytest.raises(InputError, match="names no data set"):
        datahub.named("hf://datasets/owner")
