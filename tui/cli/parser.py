"""The words of the command line. Each command's code is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tui.cli.output import Output


@dataclass(frozen=True)
class Asked:
    """What a command was asked: its words, the settings among them, where runs are, how to print.

    ``settings`` are ``section.field`` flags as texts, for the commands that take a configuration.
    """

    options: argparse.Namespace
    out: Output
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Where runs are kept."""
        from core.record.folder import runs_root

        return runs_root(self.options.runs)


@dataclass(frozen=True)
class Command:
    """One word of the command line: its help, its code as ``module:function``, its arguments."""

    name: str
    summary: str
    code: str
    add: Callable[[argparse.ArgumentParser], Any] = lambda parser: None
    takes_settings: bool = False

    def run(self, asked: Asked) -> int:
        module, _, function = self.code.partition(":")
        action: Callable[[Asked], int] = getattr(
            importlib.import_module(f"tui.cli.{module}"), function
        )
        return action(asked)


def parse(argv: Sequence[str]) -> tuple[Command, Asked]:
    """Understand a command line.

    Raises SystemExit, as argparse does, for ``--help`` (0) and for words that fit nothing (2);
    InputError for a setting without a value.
    """
    words, settings = list(argv), dict[str, str]()
    taker = next((c for c in COMMANDS if c.takes_settings and c.name in words), None)
    if taker is not None and not {"-h", "--help"} & set(words):
        place = words.index(taker.name) + 1
        if _is_command(words[: place - 1]):
            from tui.cli import flags

            settings, rest = flags.split(words[place:], _SWITCHES, _VALUED)
            words = [*words[:place], *rest]
    options = _parser().parse_args(words)
    command = next((c for c in COMMANDS if c.name == options.command), SCREEN)
    return command, Asked(options, Output(as_json=options.json, plain=options.plain), settings)


class _CommandParser(argparse.ArgumentParser):
    """One command's parser; where it takes settings, its help ends with all of them."""

    def __init__(self, *, takes_settings: bool = False, **rest: Any):
        super().__init__(allow_abbrev=False, **rest)
        self._takes_settings = takes_settings

    def format_help(self) -> str:
        if not self._takes_settings:
            return super().format_help()
        from tui.cli import flags

        return f"{super().format_help()}\n{flags.reference()}"


class _Version(argparse.Action):
    """Prints the version; looking it up costs too much to do at every start."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"finetui {version('finetui')}")
        except PackageNotFoundError:
            print("finetui, from a folder: not installed as a package")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="finetui",
        description="Fine-tune language models on your own GPU box. Without a command: the screen.",
        epilog="RUN is a run's name or folder. `finetui COMMAND --help` says more. "
        "Exit codes: 0 done, 1 failed, 2 bad input, 3 refused, 130 interrupted.",
        allow_abbrev=False,
    )
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    _add_globals(top, {"runs": None, "json": False, "plain": False})
    commands = top.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", parser_class=_CommandParser
    )
    for command in COMMANDS:
        parser = commands.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
            takes_settings=command.takes_settings,
        )
        _add_globals(parser, {})
        command.add(parser)
    return top


def _add_globals(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    """Options that may stand before and after the command; after it they must not reset."""

    def default(name: str) -> Any:
        return defaults.get(name, argparse.SUPPRESS)

    parser.add_argument(
        "--runs", metavar="ROOT", default=default("runs"),
        help="folder that holds the runs (else FINETUI_RUNS, else ./runs)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", default=default("json"),
        help="print JSON and nothing else on stdout",
    )  # fmt: skip
    parser.add_argument(
        "--plain", action="store_true", default=default("plain"),
        help="no colour, no screen",
    )  # fmt: skip


def _is_command(before: Sequence[str]) -> bool:
    """Whether nothing but global options stands before a word, so that it is the command."""
    words = list(before)
    while words:
        word = words.pop(0)
        if word == "--runs" and words:
            words.pop(0)
        elif word not in ("--json", "--plain") and not word.startswith("--runs="):
            return False
    return True


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's name or folder")


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--headless", action="store_true", help="no screen: train, merge and print the matches"
    )


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", metavar="DATA", nargs="+", help="files, folders, patterns, data sets of a hub"
    )
    parser.add_argument(
        "--max-length", type=int, metavar="TOKENS", help="length for the truncation forecast"
    )
    parser.add_argument(
        "--write", metavar="OUT", help="write the kept rows, cleaned, to a new .jsonl or .parquet"
    )


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="RUN.toml", nargs="?", help="a configuration")


def _estimate(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    parser.add_argument(
        "--gib", type=float, metavar="GIB", help="reckon for a GPU with so much memory instead"
    )
    parser.add_argument(
        "--ram", type=float, metavar="GIB",
        help="with --gib: so much RAM is free beside it (else as much as it takes)",
    )  # fmt: skip
    parser.add_argument(
        "--probe", action="store_true",
        help="also run the longest batch once, and tell what it takes; needs the weights",
    )  # fmt: skip


def _train(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--detach", action="store_true", help="start it and return at once")
    where.add_argument(
        "--in-process", action="store_true", help="train inside this program; ends with it"
    )


def _resume(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--detach", action="store_true", help="start it and return at once")


def _stop(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--now", action="store_true", help="abort: save nothing more")


def _generate(parser: argparse.ArgumentParser) -> None:
    _run(parser)
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="what the user says")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="longest answer")
    parser.add_argument(
        "--models", metavar="A,B", help="base, adapter, merged (else all that there are)"
    )


_SWITCHES = ("--headless", "--detach", "--in-process", "--probe", "--json", "--plain", "--help")
_VALUED = ("--runs", "--gib", "--ram", "--max-length", "--write")

SCREEN = Command("", "the screen", "screen:screen")

COMMANDS: tuple[Command, ...] = (
    Command("demo", "the screen on sample data and a tiny model, ready to start", "demo:demo",
            _demo, takes_settings=True),
    Command("doctor", "look at this machine: GPU, libraries, memory, disk, network",
            "doctor:doctor"),
    Command("inspect", "statistics and problems of data files", "data:inspect", _inspect,
            takes_settings=True),
    Command("estimate", "how much GPU memory a training would take, part by part",
            "estimate:show", _estimate, takes_settings=True),
    Command("prepare", "make a run and freeze its data as tokens, without training",
            "data:prepare", _config, takes_settings=True),
    Command("train", "train a quantized LoRA adapter", "runs:train", _train, takes_settings=True),
    Command("resume", "go on with a run that stopped, from its last checkpoint", "runs:resume",
            _resume),
    Command("attach", "watch a run: the screen on a terminal, else its events as text",
            "runs:attach", _run),
    Command("pause", "pause training (keeps the GPU memory)", "control:pause", _run),
    Command("continue", "go on after a pause", "control:go_on", _run),
    Command("save", "write a checkpoint now", "control:save", _run),
    Command("stop", "save a checkpoint and stop", "control:stop", _stop),
    Command("runs", "list the runs", "show:runs"),
    Command("show", "where a run stands", "show:show", _run),
    Command("merge", "merge the adapter into the full-precision base", "deliver:merge", _run),
    Command("generate", "let the tuned model answer a prompt", "deliver:generate", _generate),
)  # fmt: skip
