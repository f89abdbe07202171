from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.train import checkpoint


def save(run: Path, step: int, seed: int = 0) -> Path:
    """A checkpoint with made-up contents, written the real way."""
    folder = checkpoint.staging(run, step)
    written = folder / f"checkpoint-{step}"
    written.mkdir()
    for name in (*checkpoint.REQUIRED, "tokenizer.json"):
        (written / name).write_bytes(f"{name} of step {step}, {seed}".encode() * 20)
    checkpoint.seal(written, step)
    checkpoint.commit(written, run / f"checkpoint-{step}")
    folder.rmdir()
    return run / f"checkpoint-{step}"


def test_a_saved_checkpoint_verifies_and_is_private(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    assert checkpoint.verify(path) is None
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o600}
    assert checkpoint.newest_verified(tmp_path) == checkpoint.Chosen(path, 3, ())


def test_steps_are_compared_as_numbers(tmp_path: Path) -> None:
    for step in (9, 10, 99, 100):
        save(tmp_path, step)
    assert [step for step, _ in checkpoint.candidates(tmp_path)] == [100, 99, 10, 9]
    assert checkpoint.newest_verified(tmp_path).step == 100


@pytest.mark.parametrize("name", [*checkpoint.REQUIRED, "tokenizer.json", checkpoint.MANIFEST])
@pytest.mark.parametrize("damage", ["delete", "empty", "halve", "flip", "grow"])
def test_any_damage_is_recognised_and_the_one_before_is_taken(
    tmp_path: Path, name: str, damage: str
) -> None:
    good, bad = save(tmp_path, 1), save(tmp_path, 2)
    file = bad / name
    content = file.read_bytes()
    if damage == "delete":
        file.unlink()
    else:
        middle = len(content) // 2
        file.write_bytes(
            {
                "empty": b"",
                "halve": content[:middle],
                "flip": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
                "grow": content + b" ",
            }[damage]
        )
    chosen = checkpoint.newest_verified(tmp_path)
    assert chosen.path == good
    assert len(chosen.rejected) == 1
    rejected, reason = chosen.rejected[0]
    assert rejected == "checkpoint-2"
    assert name in reason


def test_every_single_flipped_bit_of_the_manifest_is_seen(tmp_path: Path) -> None:
    path = save(tmp_path, 2)
    manifest = path / checkpoint.MANIFEST
    content = manifest.read_bytes()
    for position in range(0, len(content), 7):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            manifest.write_bytes(flipped)
            assert checkpoint.verify(path) is not None, (position, bit)


def test_a_file_that_was_never_saved_is_missed(tmp_path: Path) -> None:
    path = save(tmp_path, 2)
    (path / "optimizer.pt").unlink()
    (path / checkpoint.MANIFEST).unlink()
    checkpoint.seal(path, 2)
    assert checkpoint.verify(path) == "optimizer.pt was never saved"


def test_a_renamed_checkpoint_is_not_another_step(tmp_path: Path) -> None:
    save(tmp_path, 2).rename(tmp_path / "checkpoint-7")
    reason = checkpoint.verify(tmp_path / "checkpoint-7")
    assert reason is not None
    assert "of step 2" in reason


def test_what_is_not_ours_is_neither_taken_nor_touched(tmp_path: Path) -> None:
    ours = save(tmp_path, 4)
    for rest in ("keep-best", "1e9", "٣", "007", "4-merged", "", "0", "-5"):
        (tmp_path / f"checkpoint-{rest}").mkdir()
        (tmp_path / f"checkpoint-{rest}" / "notes").write_text("mine")
    (tmp_path / "checkpoint-50").write_text("a file")
    (tmp_path / "checkpoint-60").symlink_to(ours)
    empty = tmp_path / "checkpoint-999999"
    empty.mkdir()
    before = sorted(tmp_path.rglob("*"))
    chosen = checkpoint.newest_verified(tmp_path)
    assert chosen.path == ours
    assert [name for name, _ in chosen.rejected] == ["checkpoint-999999"]
    assert checkpoint.retain(tmp_path, newest=4, best=None, limit=1) == []
    assert checkpoint.sweep(tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_foreign_folder_under_our_name_is_moved_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "notes").write_text("mine")
    assert checkpoint.verify(save(tmp_path, 5)) is None
    assert (tmp_path / "checkpoint-5-not-ours-1" / "notes").read_text() == "mine"


def test_a_second_save_of_a_step_replaces_the_first(tmp_path: Path) -> None:
    save(tmp_path, 5, seed=1)
    path = save(tmp_path, 5, seed=2)
    assert checkpoint.verify(path) is None
    assert path.joinpath("optimizer.pt").read_text().endswith(", 2")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-5"]


def test_retention_keeps_the_newest_and_the_best_and_ignores_file_times(tmp_path: Path) -> None:
    for step in range(2, 12, 2):
        save(tmp_path, step)
    os.utime(tmp_path / "checkpoint-2", (4e9, 4e9))
    gone = checkpoint.retain(tmp_path, newest=10, best=4, limit=2)
    assert gone == ["checkpoint-2", "checkpoint-6"]
    assert [step for step, _ in checkpoint.candidates(tmp_path)] == [10, 8, 4]


def test_rejected_checkpoints_of_higher_steps_do_not_push_good_ones_out(tmp_path: Path) -> None:
    for step in (1, 2, 3, 9):
        save(tmp_path, step)
    (tmp_path / "checkpoint-9" / "optimizer.pt").write_bytes(b"")
    checkpoint.retain(tmp_path, newest=3, best=None, limit=1)
    assert [step for step, _ in checkpoint.candidates(tmp_path)] == [9, 3]
    assert checkpoint.newest_verified(tmp_path).step == 3


@given(
    steps=st.sets(st.integers(1, 60), min_size=1),
    best=st.none() | st.integers(1, 60),
    limit=st.integers(1, 8),
)
def test_what_is_kept(steps: set[int], best: int | None, limit: int) -> None:
    kept = checkpoint.keep(steps, best, limit)
    assert max(steps) in kept
    assert kept <= steps
    assert best not in steps or best in kept
    assert len(kept - {best}) <= limit
    assert len(kept) >= min(limit, len(steps))
    gone = steps - kept
    assert not gone or max(gone) < min(sorted(steps, reverse=True)[:limit])


def _faults(run: Path, action: Callable[[], object]) -> int:
    """How many times ``action`` touches the disk for good: fsync, rename and unlink."""
    return _child(run, action, at=10**9)[1]


def _child(run: Path, action: Callable[[], object], at: int) -> tuple[bool, int]:
    """Run in a forked process that is killed at its ``at``-th touch; (survived, touches)."""
    counter = run.parent / "touches"
    pid = os.fork()
    if pid == 0:
        count = 0

        def touch(name: str) -> None:
            real = getattr(os, name)

            def patched(*args: object, **kwargs: object) -> object:
                nonlocal count
                count += 1
                counter.write_text(str(count))
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            setattr(os, name, patched)

        for name in ("fsync", "rename", "unlink", "rmdir", "mkdir", "open"):
            touch(name)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return not os.WIFSIGNALED(status), int(counter.read_text())


def test_killed_at_any_point_of_a_save_there_is_a_verified_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save(run, 1)

    def act() -> None:
        checkpoint.sweep(run)
        save(run, 2)
        checkpoint.retain(run, newest=2, best=None, limit=1)

    points = _faults(run, act)
    assert points > 20
    for at in range(1, points + 1):
        for path in run.iterdir():
            checkpoint.discard(path)
        save(run, 1)
        survived, _ = _child(run, act, at)
        chosen = checkpoint.newest_verified(run)
        assert not survived
        assert chosen.step in (1, 2), at
        assert chosen.rejected == (), at
        checkpoint.sweep(run)
        assert {path.name for path in run.iterdir()} <= {"checkpoint-1", "checkpoint-2"}


def test_a_failed_write_leaves_no_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    assert checkpoint.newest_verified(tmp_path).step == 1
    assert checkpoint.sweep(tmp_path) == [f".staging-2-{os.getpid()}"]


def test_the_adapter_is_published_whole_and_left_alone_when_equal(tmp_path: Path) -> None:
    best, adapter = save(tmp_path, 3), tmp_path / "adapter"
    sha256 = checkpoint.publish_adapter(best, adapter)
    assert sha256 == checkpoint.sha256_of(best / checkpoint.ADAPTER_WEIGHTS)
    assert {path.name for path in adapter.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "tokenizer.json",
    }  # fmt: skip
    (adapter / "README.md").write_text("a card, written later")
    assert checkpoint.publish_adapter(best, adapter) == sha256
    assert (adapter / "README.md").exists()
    newer = checkpoint.publish_adapter(save(tmp_path, 4), adapter)
    assert newer != sha256
    assert checkpoint.sweep(tmp_path) == []


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    listed = json.loads((path / checkpoint.MANIFEST).read_text())["manifest"]["files"]
    assert set(listed) == {file.name for file in path.iterdir()} - {checkpoint.MANIFEST}
