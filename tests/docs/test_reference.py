"""The reference pages say what the program does, and the links of all pages lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from core.config.schema import SECTIONS, section_fields
from tui.bindings import KEYS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("sample_data/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)|src=\"([^\"]+)\"")


def pages() -> Mapping[str, Callable[[], str]]:
    """What `make docs` would write, by file name."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Mapping[str, Callable[[], str]] = module.PAGES
    return made


@pytest.mark.parametrize("name", ["config.md", "keys.md"])
def test_a_page_is_up_to_date(name: str) -> None:
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == pages()[name](), "run: make docs"


def test_every_setting_and_key_has_a_row() -> None:
    config, keys = pages()["config.md"](), pages()["keys.md"]()
    for section in SECTIONS:
        rows = config.split(f"## [{section}]")[1].split("\n## ")[0]
        for key in section_fields(section):
            assert rows.count(f"| `{key}` |") == 1
    for row in KEYS:
        assert not row.help or f"| `{row.display}` | {row.help} |" in keys


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, _, source in LINK.findall(page.read_text(encoding="utf-8")):
        link = target or source
        if not link.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
