"""Write the reference pages from what the program itself uses: config.md and keys.md.

    make docs

`tests/docs/test_reference.py` fails when a page and the code have grown apart.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from core.config.files import OLD_NAMES  # noqa: E402
from core.config.schema import SECTIONS, RunConfig, section_fields  # noqa: E402
from core.config.setting import unit_of  # noqa: E402
from tui.bindings import groups  # noqa: E402
from tui.draft import Draft  # noqa: E402
from tui.widgets.field import choices, limits  # noqa: E402

CONFIG_HEAD = """# Settings

Made by `make docs` from the sections of `core/config/schema.py`; edit those, not this page.

Every setting can stand in a TOML file, on the command line and in the form of the config pane:

```toml
# support.toml
[model]
name_or_path = "Qwen/Qwen2.5-7B-Instruct"

[data]
files = ["rows.jsonl"]

[train]
learning_rate = 1e-4
```

```
finetui train support.toml --train.num_train_epochs 2
finetui train support.toml --num_train_epochs 2
```

Flags win over the file. A flag needs its section only where the name stands in several sections. A
list takes several values with commas; yes and no are `true` and `false` in TOML. All settings are
optional but `model.name_or_path` and `data.files`. A wrong name or value ends with exit code 2 and
says file, line, what is allowed and the nearest known name.
"""

KEYS_HEAD = """# Keys

Made by `make docs` from `tui/bindings.py`; edit that file, not this page. `?` shows the same list
in the program, and the line at the bottom shows the keys that matter at the moment. A key that
cannot act says why.
"""


def config_page() -> str:
    """The reference of every setting, as Markdown."""
    defaults = Draft(RunConfig())
    parts = [CONFIG_HEAD]
    for section in SECTIONS:
        about = (type(getattr(RunConfig(), section)).__doc__ or "").strip()
        parts.append(f"\n## [{section}]\n\n{about}\n\n")
        rows = [_setting(defaults, section, key) for key in section_fields(section)]
        parts.append(_table(("Setting", "Default", "Unit", "Allowed", "Meaning"), rows))
    parts.append(
        "\n## Names that guides and other programs use\n\n"
        "They are taken, with a notice that says the name here.\n\n"
    )
    parts.append(_table(("Name", "Taken as"), [(f"`{o}`", f"`{n}`") for o, n in OLD_NAMES.items()]))
    return "".join(parts)


def keys_page() -> str:
    """The list of keys, as Markdown."""
    parts = [KEYS_HEAD]
    for title, keys in groups():
        parts.append(f"\n## {title}\n\n")
        parts.append(_table(("Key", "What it does"), [(f"`{k.display}`", k.help) for k in keys]))
    return "".join(parts)


def _setting(defaults: Draft, section: str, key: str) -> Sequence[str]:
    name, info = (section, key), section_fields(section)[key]
    default = defaults.default(name)
    allowed = ", ".join(choices(name)) or limits(name)
    return (
        f"`{key}`",
        f"`{default}`" if default else "empty",
        unit_of(info),
        allowed,
        info.description or "",
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"config.md": config_page, "keys.md": keys_page}


if __name__ == "__main__":
    for page, make in PAGES.items():
        (DOCS / page).write_text(make(), encoding="utf-8")
        print(f"docs/{page}")
