"""Run folders: private, named safely, found from anywhere, held by one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.config.errors import InputError, RefusedError
from core.record import folder
from core.record.lock import RunLock, holder


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_new_run_is_private_and_listed(tmp_path: Path) -> None:
    run = folder.create(tmp_path / "runs", "chat", "x = 1\n")
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert run.config.stat().st_mode & 0o777 == 0o600
    assert folder.list_runs(tmp_path / "runs") == [run]
    assert folder.resolve("chat", tmp_path / "elsewhere") == run
    assert folder.resolve(str(run.path), tmp_path) == run


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    folder.create(tmp_path, "chat", "")
    with pytest.raises(RefusedError, match="already") as caught:
        folder.create(tmp_path, "chat", "")
    assert f"or remove {tmp_path / 'chat'}" in caught.value.remedies[1]
    (tmp_path / "chat" / "data").mkdir()
    with pytest.raises(RefusedError, match="already") as caught:
        folder.create(tmp_path, "chat", "")
    assert caught.value.remedies[0] == "resume it: finetui resume chat"
    (tmp_path / "other").mkdir()
    with pytest.raises(RefusedError, match="already") as caught:
        folder.create(tmp_path, "other", "")
    assert caught.value.remedies == ("choose another run.name",)
    assert folder.free_name(tmp_path, "chat") == "chat-2"


def test_a_run_without_anything_made_is_taken_again(tmp_path: Path) -> None:
    run = folder.create(tmp_path, "chat", "x = 1\n")
    assert folder.create(tmp_path, "chat", "x = 1.0 # the same\n", again=True) == run
    with pytest.raises(RefusedError) as caught:
        folder.create(tmp_path, "chat", "x = 2\n", again=True)
    assert f"finetui prepare {run.config} --runs {tmp_path}" in caught.value.remedies[2]
    lock = RunLock(run.lock)
    with pytest.raises(RefusedError):
        folder.create(tmp_path, "chat", "x = 1\n", again=True)
    lock.release()
    run.checkpoint(4).mkdir()
    with pytest.raises(RefusedError, match="already"):
        folder.create(tmp_path, "chat", "x = 1\n", again=True)


def test_names_that_are_no_text_leave_nothing_behind(tmp_path: Path) -> None:
    for root, text in (("bad\udcff", ""), ("good", 'files = ["bad\udcff"]\n')):
        with pytest.raises(InputError, match=r"bad\\xff"):
            folder.create(tmp_path / root, "chat", text)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnicodeEncodeError):
        folder.write_private(tmp_path / "x", "\udcff")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "", "-rf", ".hidden", "a/b", "a\nb", "ü", "x" * 101])
def test_names_that_are_no_folder_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        folder.create(tmp_path, name, "")
    assert list(tmp_path.iterdir()) == []


def test_a_file_cannot_hold_runs(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        folder.runs_root(str(file))


def test_a_name_in_two_places_is_refused_with_both(tmp_path: Path) -> None:
    one = folder.create(tmp_path / "a", "chat", "")
    two = folder.create(tmp_path / "b", "chat", "")
    with pytest.raises(InputError) as caught:
        folder.resolve("chat", tmp_path / "c")
    assert str(one.path) in caught.value.message
    assert str(two.path) in caught.value.message


def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path: Path) -> None:
    run = folder.create(tmp_path, "chat", "")
    assert holder(run.lock) is None
    code = (
        "import sys, pathlib; from core.record.lock import RunLock; "
        "lock = RunLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(run.lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    who = holder(run.lock)
    with pytest.raises(RefusedError, match="already") as caught:
        folder.create(tmp_path, "chat", "")
    assert caught.value.remedies[0] == "watch it: finetui attach chat"
    assert who is not None
    assert who.pid == other.pid
    with pytest.raises(RefusedError, match=str(other.pid)):
        RunLock(run.lock)
    other.kill()
    other.wait()
    assert holder(run.lock) is None
    lock = RunLock(run.lock)
    lock.release()
