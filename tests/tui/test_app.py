"""The screen as a person meets it: layout, keys, first start, start, quit, hostile text."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from idle import TRAINED, TRAINING, IdleLink, IdleLinks, settle, shown
from textual.pilot import Pilot

from core.config.schema import RunConfig
from core.model import fits
from core.monitor.devices import Listing
from core.record.folder import RunFolder
from tui.app import FinetuiApp
from tui.bindings import KEYS, PANE_NAMES
from tui.screens.ask import Ask
from tui.screens.choose import Choose
from tui.screens.keys import KeysScreen
from tui.widgets.config_pane import ConfigPane

MakeApp = Callable[..., FinetuiApp]
MakeRun = Callable[..., RunFolder]


async def test_first_start_says_what_to_do_next(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = shown(app)
        assert "training data" in text
        assert "base model" in text
        assert "try the demo first" in text
        assert "No data yet" in text


async def test_wide_shows_four_panes_at_once(make_app: MakeApp, make_run: MakeRun) -> None:
    app = make_app(make_run(TRAINING))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        text = shown(app)
        for title in ("1 Data", "2 Config", "3 Graphs", "4 Log"):
            assert title in text
        assert "step 14/21" in text
        assert "● training" in text
        assert "no GPU: there is no NVIDIA driver" in text
        assert "process memory" in text


async def test_narrow_shows_one_pane_under_the_pinned_line(
    make_app: MakeApp, make_run: MakeRun
) -> None:
    app = make_app(make_run(TRAINING))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        first, second, *_ = shown(app).split("\n")
        assert "support-bot ● training 14/21" in first
        assert "[3 Graphs]" in second
        for number, name in enumerate(PANE_NAMES, 1):
            await pilot.press(str(number))
            await pilot.pause()
            assert [n for n, pane in app.main.panes.items() if pane.display] == [name]
            assert "support-bot" in shown(app).split("\n")[0]


async def test_zoom_and_tab(make_app: MakeApp, make_run: MakeRun) -> None:
    app = make_app(make_run(TRAINING))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("4", "z")
        await pilot.pause()
        assert [n for n, pane in app.main.panes.items() if pane.display] == ["log"]
        await pilot.press("z", "tab")
        await pilot.pause()
        assert app.main.current == "data"
        assert app.main.data.has_focus_within
        await pilot.press("shift+tab")
        await pilot.pause()
        assert app.main.current == "log"


async def test_help_lists_every_key_of_the_table(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(160, 48)) as pilot:
        await settle(pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, KeysScreen)
        text = shown(app)
        for key in KEYS:
            assert key.help in text
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.main


def test_bindings_have_ids_of_their_own() -> None:
    ids = [key.id for key in KEYS]
    assert len(ids) == len(set(ids))
    for key in KEYS:
        if key.action.startswith("app."):
            assert hasattr(FinetuiApp, f"action_{key.action.removeprefix('app.')}")


async def test_start_builds_the_configuration_of_the_form(
    make_app: MakeApp, links: IdleLinks, data_file: Path
) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("t")
        await settle(pilot)
        assert not links.started  # nothing is chosen yet
        app.set_setting(("data", "files"), str(data_file))
        await pilot.press("d")
        await settle(pilot)
        await pilot.press("2")
        app.main.config.form.go_to(("adapter", "r"))
        await pilot.pause()
        await pilot.press("enter", "3", "2", "enter", "escape")
        await pilot.press("t")
        await settle(pilot)
        assert [config.adapter.r for config in links.started] == [32]
        assert links.started[0].model.name_or_path.endswith("tiny-llama")
        assert app.session.folder is not None
        assert app.main.config.form.locked


async def test_the_form_ends_with_the_memory_that_a_run_would_take(
    make_app: MakeApp, make_run: MakeRun
) -> None:
    app = make_app()
    async with app.run_test(size=(160, 48)) as pilot:
        await settle(pilot)
        pane = app.main.config
        assert "Memory" not in str(pane.border_subtitle)
        await pilot.press("d")
        await settle(pilot)
        told = str(pane.border_subtitle)
        assert told.startswith("Memory est. ")
        assert "GiB RAM fits ✓ · PEFT: the fused path is for NVIDIA GPUs · weights" in told
        app.set_setting(("data", "max_length"), "1048576")
        await settle(pilot)
        assert "✗ does not fit" in str(pane.border_subtitle)
        app.set_setting(("data", "max_length"), "2048")
        await settle(pilot)
        assert "✗" not in str(pane.border_subtitle)
        pane.form.go_to(("train", "path"))
        await settle(pilot)
        assert "Now PEFT (the fused path is for NVIDIA GPUs)" in str(pane._help.render())
        app.run_closed(RunConfig())
        await settle(pilot)
        assert str(pane.border_subtitle) == ""


async def demo_settings(app: FinetuiApp, pilot: Pilot[None]) -> ConfigPane:
    """The pane of settings, those of the demo, with the focus."""
    await settle(pilot)
    await pilot.press("d", "2")
    await settle(pilot)
    return app.main.config


async def test_the_memory_follows_what_is_typed(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(160, 48)) as pilot:
        pane = await demo_settings(app, pilot)

        def total() -> str:
            return str(pane.border_subtitle).split(" of ")[0]

        pane.form.go_to(("data", "max_length"))
        await pilot.pause()
        before = total()
        await pilot.press("enter", *"65536")
        await settle(pilot)
        assert pane.form.editing == ("data", "max_length")
        assert before.startswith("Memory est. ")
        assert total() != before
        typed = total()
        await pilot.press("x")  # no length: what stood there before stays
        await settle(pilot)
        assert total() == typed


async def test_a_config_json_alone_has_its_total_and_no_start(
    make_app: MakeApp, links: IdleLinks, tiny_model: Path, data_file: Path
) -> None:
    folder = Path("llama")
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    app = make_app()
    async with app.run_test(size=(160, 48)) as pilot:
        app.set_setting(("data", "files"), str(data_file))
        app.set_setting(("model", "name_or_path"), str(folder))
        await settle(pilot)
        pane = app.main.config
        before = str(pane.border_subtitle)
        assert before.startswith("Memory est. ")
        app.set_setting(("data", "max_length"), "65536")
        await settle(pilot)
        after = str(pane.border_subtitle)
        assert after.split(" of ")[0] not in ("", before.split(" of ")[0])
        assert "GiB RAM" in after
        error = pane.draft.error(("model", "name_or_path"))
        assert error is not None
        assert "holds no weights" in error
        lines = shown(app)
        assert "✗ 1 to correct  llama" in lines
        assert "none yet: b chooses one" not in lines
        await pilot.press("t")
        await settle(pilot)
        assert not links.started


async def test_a_training_that_is_known_to_be_refused_is_not_started(
    make_app: MakeApp, links: IdleLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[threading.Thread] = []
    find = fits.listing

    def listing() -> Listing:
        looked.append(threading.current_thread())
        return find()

    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await demo_settings(app, pilot)
        app.set_setting(("run", "devices"), "cpu")
        app.set_setting(("train", "fp8"), "yes")
        await settle(pilot)
        monkeypatch.setattr(fits, "listing", listing)
        await pilot.press("t")
        await settle(pilot)
        assert not links.started
        assert app.session.folder is None
        said = [note.message for note in app._notifications][-1]
        assert "train.fp8 is for the fused path alone" in said
        assert "set train.fp8 to no" in said
        assert looked
        assert threading.main_thread() not in looked
        app.set_setting(("train", "fp8"), "no")
        await pilot.press("t")
        await settle(pilot)
        assert len(links.started) == 1


async def test_no_total_is_told_for_a_default_in_place_of_what_is_wrong(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(160, 48)) as pilot:
        pane = await demo_settings(app, pilot)
        right = str(pane.border_subtitle)
        app.set_setting(("adapter", "r"), "0")
        await settle(pilot)
        assert str(pane.border_subtitle) == "Memory est. unknown: first correct adapter.r"
        heading = next(line for line in shown(app).split("\n") if "Adapter" in line)
        assert "✗ 1 to correct" in heading
        assert "LoRA r" not in heading
        app.set_setting(("data", "max_length"), "65536")
        await settle(pilot)
        assert str(pane.border_subtitle) == "Memory est. unknown: first correct adapter.r"
        app.set_setting(("adapter", "r"), "16")
        await settle(pilot)
        told = [text.split(" of ")[0] for text in (right, str(pane.border_subtitle))]
        assert all(text.startswith("Memory est. ") and "unknown" not in text for text in told)
        assert told[0] != told[1]
        app.set_setting(("model", "name_or_path"), "./nothing-here")
        await settle(pilot)
        assert "Memory est. unknown: there is no model folder" in str(pane.border_subtitle)


async def test_letters_type_in_a_field_and_escape_leaves_it(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("2")
        app.main.config.form.go_to(("run", "name"))
        await pilot.pause()
        await pilot.press("enter", "q", "t", "3")
        assert app.main.config.draft.text(("run", "name")) == "qt3"
        await pilot.press("escape", "3")
        await pilot.pause()
        assert app.main.current == "graphs"
        assert app.main.config.draft.config().run.name == "qt3"


async def test_a_wrong_value_is_said_while_typing_and_stops_the_start(
    make_app: MakeApp, links: IdleLinks
) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("2", "z")
        app.main.config.form.go_to(("adapter", "r"))
        await pilot.pause()
        await pilot.press("enter", "0")
        await pilot.pause()
        assert "must be greater than or equal to 1" in " ".join(shown(app).split())
        await pilot.press("escape", "t")
        await settle(pilot)
        assert not links.started
        assert app.main.current == "config"


async def test_a_target_that_the_model_has_not_is_found(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("d")
        await settle(pilot)
        app.set_setting(("adapter", "target_modules"), "q_porj")
        await settle(pilot)
        error = app.main.config.draft.error(("adapter", "target_modules"))
        assert error is not None
        assert "q_proj" in error


@pytest.mark.parametrize(
    ("key", "sent", "gone"),
    [
        ("enter", [], True),
        ("l", [], True),
        ("s", ["StopAndSave"], True),
        ("a", ["Abort"], True),
        ("c", [], False),
        ("escape", [], False),
    ],
)
async def test_quit_while_training_asks(
    make_app: MakeApp, make_run: MakeRun, links: IdleLinks, key: str, sent: list[str], gone: bool
) -> None:
    app = make_app(make_run(TRAINING))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        await pilot.press(key)
        await pilot.pause()
        assert links.link.sent == sent
        assert app._exit is gone


async def test_run_keys_send_commands_or_say_why_not(
    make_app: MakeApp, make_run: MakeRun, links: IdleLinks
) -> None:
    app = make_app(make_run(TRAINING))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        for key in ("p", "s", "x"):
            await pilot.press(key)
            await settle(pilot)
        assert links.link.sent == ["Pause", "SaveNow", "StopAndSave"]
        await pilot.press("m")
        await pilot.pause()
        assert app.screen is app.main
        assert [n.message for n in app._notifications][-1].startswith("train is running")


@pytest.mark.parametrize("key", ["x", "p", "s"])
async def test_a_key_pressed_while_the_run_starts_is_told_to_wait(
    make_app: MakeApp, links: IdleLinks, data_file: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    app, begin, start = make_app(), threading.Event(), links.start

    def slow(config: RunConfig, root: Path) -> IdleLink:
        begin.wait(10)
        return start(config, root)

    monkeypatch.setattr(links, "start", slow)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("d")
        await settle(pilot)
        await pilot.press("t")
        await pilot.press(key)
        await pilot.pause()
        said = [n.message for n in app._notifications][-1]
        begin.set()
        await settle(pilot)
        assert said == "one moment: starting"
        assert app.session.folder is not None


async def test_merge_asks_with_numbers_then_starts(
    make_app: MakeApp, make_run: MakeRun, links: IdleLinks
) -> None:
    app = make_app(make_run(TRAINED))
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        app.shown_config.model.name_or_path = str(app.demo().model.name_or_path)
        await pilot.press("m")
        await settle(pilot)
        assert isinstance(app.screen, Ask)
        assert "Free disk" in shown(app)
        await pilot.press("m")
        await settle(pilot)
        assert links.link.launched == ["merge"]


async def test_a_finished_run_shows_what_it_delivered(make_app: MakeApp, make_run: MakeRun) -> None:
    app = make_app(make_run())
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("6")
        await pilot.pause()
        text = shown(app)
        assert "vllm serve runs/demo/merged" in text
        assert "expected" in text


async def test_an_interrupted_run_can_be_resumed(make_app: MakeApp, make_run: MakeRun) -> None:
    links = IdleLinks(alive=False)
    app = FinetuiApp(make_run(TRAINING).path.parent, make_run(TRAINING, "gone"), links=links)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "interrupted" in shown(app)
        await pilot.press("t")
        await settle(pilot)
        assert links.link.launched == ["train"]


async def test_runs_are_listed_and_opened(make_app: MakeApp, make_run: MakeRun) -> None:
    make_run()
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert app.main.current == "runs"
        assert "merge done" in shown(app)
        await pilot.press("enter")
        await settle(pilot)
        assert app.session.folder is not None
        assert app.session.folder.name == "support-bot"


async def test_hostile_rows_are_shown_as_they_are(
    make_app: MakeApp, data_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = RunConfig.model_validate({"data": {"files": [str(data_file)]}})
    config.clean.control_characters = False
    app = make_app(config=config)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.press("1", "z", "end")
        await pilot.pause()
        text = shown(app)
        assert "\x1b" not in text
        assert "␛]0;owned␇[red]bold[/red] ␛[31mred" in text
        assert "[b]No[/b]␛[2J." in text


async def test_problems_are_counted_and_found(make_app: MakeApp, data_file: Path) -> None:
    config = RunConfig.model_validate({"data": {"files": [str(data_file)]}})
    app = make_app(config=config)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert "4 rows ─ 1 problem" in shown(app)
        await pilot.press("1", "exclamation_mark")
        await pilot.pause()
        text = shown(app)
        assert "will be rejected" in text
        assert "turn 2 (assistant) is empty" in text


async def test_the_beginning_of_a_name_is_enough(make_app: MakeApp, data_file: Path) -> None:
    Path("other.jsonl").write_text("{}\n", encoding="utf-8")
    app = make_app()
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("o", *"row", "enter")
        await settle(pilot)
        assert app.main.data.told == "rows.jsonl, 4 rows"


async def test_a_name_of_nothing_is_said_and_can_be_corrected(
    make_app: MakeApp, data_file: Path
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("o", *"nothing", "enter")
        await pilot.pause()
        told = [note.message for note in app._notifications]
        assert told == ["there is no file, folder or data set nothing"]
        assert isinstance(app.screen, Choose)
        assert app.main.config.draft.text(("data", "files")) == ""
        await pilot.press(*["backspace"] * 7, "enter")
        await settle(pilot)
        assert app.main.data.told == "rows.jsonl, 4 rows"


async def test_a_folder_is_walked_into_and_taken_whole(make_app: MakeApp, data_file: Path) -> None:
    folder = Path("rows")
    folder.mkdir()
    data_file.rename(folder / "a.jsonl")
    app = make_app()
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("o", *"rows/", "enter")
        await pilot.pause()
        assert isinstance(app.screen, Choose)
        assert "All data files below rows/ with enter" in shown(app)
        assert "rows/a.jsonl" in shown(app)
        await pilot.press("end", "enter")
        await settle(pilot)
        assert app.main.config.draft.text(("data", "files")) == "rows"
        assert app.main.data.told == "a.jsonl, 4 rows"


async def test_open_data_offers_what_lies_here(make_app: MakeApp, data_file: Path) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("o")
        await pilot.pause()
        assert isinstance(app.screen, Choose)
        assert "rows.jsonl" in shown(app)
        await pilot.press("enter")
        await settle(pilot)
        assert app.main.config.draft.config().data.files == ["rows.jsonl"]


async def test_unsaved_settings_are_not_lost_silently(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        app.set_setting(("adapter", "r"), "64")
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, Ask)
        await pilot.press("w")
        await settle(pilot)
    assert "r = 64" in (tmp_path / "finetui.toml").read_text(encoding="utf-8")


def test_the_screen_never_imports_torch(tmp_path: Path, data_file: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from tui.app import FinetuiApp

async def main():
    app = FinetuiApp(Path("runs"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("d")
        await pilot.pause(0.5)
        await app.workers.wait_for_complete()
        await pilot.press("1", "v", "v")
        await pilot.pause()
    heavy = {"torch", "transformers", "peft", "trl", "datasets", "bitsandbytes", "accelerate"}
    print(sorted(heavy & set(sys.modules)))

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


async def test_an_error_that_nobody_foresaw_leaves_no_traceback(
    make_app: MakeApp, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app()

    def broken() -> None:
        raise RuntimeError("a fault in the program")

    async def run() -> None:
        async with app.run_test() as pilot:
            app.call_later(broken)
            await pilot.pause()

    with pytest.raises(RuntimeError, match="a fault in the program"):
        await run()
    assert isinstance(app.failure, RuntimeError)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.out + shown.err


async def test_data_that_is_given_is_named_while_it_is_read(
    make_app: MakeApp, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = threading.Event()
    monkeypatch.setattr("tui.rows.Rows.open", lambda *_: wait.wait(20))
    app = make_app(config=RunConfig.model_validate({"data": {"files": [str(data_file)]}}))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(0.3)
        assert "✓ training data  rows.jsonl, being read" in shown(app)
        wait.set()
