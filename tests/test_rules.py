"""Rules that hold for the whole source, whoever writes the next line."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("core/**/*.py"), *ROOT.glob("tui/**/*.py")])
LOADERS = {"core/model/load.py", "core/data/reference.py"}
"""The model and tokenizer loader, and the proof that our tokens equal AutoTokenizer's."""


def calls(path: Path) -> Iterator[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    """No pickle, no shell, no evaluated text, no code from hubs."""
    for call in calls(path):
        name = name_of(call)
        where = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        assert name not in ("eval", "exec", "os.system", "pickle.load", "pickle.loads"), where
        assert not name.endswith("yaml.load"), where
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("shell") != "True", where
        assert given.get("weights_only") != "False", where
        assert given.get("trust_remote_code", "False") == "False", where
        if name.endswith("from_pretrained"):
            assert str(path.relative_to(ROOT)) in LOADERS, where


def test_the_rules_see_what_they_forbid(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nos.system('x')\n", encoding="utf-8")
    assert [name_of(call) for call in calls(bad)] == ["os.system"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_absolute_path_of_some_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[\"'](/home|/root|/work|/Users)/", text)


def test_no_two_test_modules_have_one_name() -> None:
    """pytest imports them by their name alone."""
    names = sorted(path.name for path in ROOT.glob("tests/**/test_*.py"))
    assert [name for name in names if names.count(name) > 1] == []


def test_the_screen_does_not_import_torch() -> None:
    """After everything that the first paint imports, and the token view's own parts."""
    code = (
        "import sys, tui.app, tui.widgets.data_pane, core.data.tokens.codec, core.run.link; "
        "heavy = {'torch', 'transformers', 'peft', 'trl', 'datasets', 'bitsandbytes'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
