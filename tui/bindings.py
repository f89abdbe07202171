"""One table of keys. The app's bindings, the footer, the `?` page and the docs are made from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from textual.binding import Binding


@dataclass(frozen=True)
class Key:
    """One thing a person can ask for.

    `key` is what Textual listens to (several with commas), `shown` what a person reads. `label` is
    the footer's word, `help` the sentence of the `?` page. `place` is where the key works: "app"
    everywhere, or the pane that must have the focus. Keys of widgets that bring their own bindings
    (chart, log) have no `action`: they stand here so that the help page is complete.
    """

    id: str
    key: str
    action: str
    label: str
    help: str
    group: str
    place: str = "app"
    shown: str = ""

    @property
    def display(self) -> str:
        """The key as a person reads it."""
        return self.shown or self.key.split(",")[0]


RUN, PANES, DATA, TABLE, CONFIG, GRAPHS, LOG, RUNS, PROGRAM = (
    "The run",
    "Panes",
    "Data (1)",
    "Data (1): rows",
    "Config (2)",
    "Graphs (3)",
    "Log (4)",
    "Runs (5) and Deliver (6)",
    "The program",
)

KEYS: tuple[Key, ...] = (
    Key("run.train", "t", "app.train", "train", "start, or resume a run that stopped", RUN),
    Key("run.pause", "p", "app.pause", "pause", "pause, and go on (GPU memory stays taken)", RUN),
    Key("run.save", "s", "app.save", "save now", "write a checkpoint at the next step", RUN),
    Key("run.stop", "x", "app.stop", "stop and save", "end training with a checkpoint", RUN),
    Key("run.merge", "m", "app.merge", "merge", "merge the adapter into the base model", RUN),
    Key("run.new", "n", "app.new", "new run", "a new run that begins with these settings", RUN),
    Key("run.data", "o", "app.open_data", "open data", "choose the training data", RUN),
    Key("run.model", "b", "app.base_model", "base model", "choose the model that is tuned", RUN),
    Key("run.demo", "d", "app.demo", "demo", "settings of the demo: small model and data", RUN),
    Key(
        "pane.show", "1,2,3,4,5,6", "", "panes",
        "data, config, graphs, log, runs, deliver", PANES, shown="1…6",
    ),
    Key("pane.next", "tab", "next_pane", "next", "next pane; shift+tab: the one before", PANES),
    Key("pane.previous", "shift+tab", "previous_pane", "", "", PANES),
    Key("pane.zoom", "z", "zoom", "zoom", "the whole screen for this pane, and back", PANES),
    Key("data.next", "right", "next_view(1)", "views",
        "next view: rows, problems, lengths, rules, facts", DATA, "data", shown="← →"),
    Key("data.before", "left", "next_view(-1)", "", "", DATA, "data", shown="←"),
    Key("data.problem", "exclamation_mark", "next_problem", "next problem",
        "next row that will be rejected, and why", DATA, "data", shown="!"),
    Key("data.undo", "u", "undo", "undo", "take the last drop or edit back", DATA, "data"),
    Key("data.reload", "r", "reload", "read again",
        "read the files again, when they were changed", DATA, "data"),
    Key("data.write", "w", "write", "write",
        "write the cleaned rows to a file, jsonl or parquet", DATA, "data"),
    Key("problems.open", "enter", "", "open", "unfold a reason; go to a row",
        DATA, "data.problems"),
    Key("problems.filter", "f", "filter", "only these", "show the rows of a reason in the table",
        DATA, "data.problems"),
    Key("problems.forget", "delete,backspace", "forget", "let go",
        "let a decision go that fits no row any more", DATA, "data.problems", shown="del"),
    Key("problems.view", "v", "next_view", "", "", DATA, "data.problems"),
    Key("problems.scroll", "left_square_bracket", "scroll_detail(-1)", "", "",
        DATA, "data.problems"),
    Key("problems.scroll_on", "right_square_bracket", "scroll_detail(1)", "", "",
        DATA, "data.problems"),
    Key("lengths.set", "enter", "", "set max_length", "cut rows at this length",
        DATA, "data.lengths"),
    Key("lengths.propose", "a", "propose", "set the proposed", "cut rows at the proposed length",
        DATA, "data.lengths"),
    Key("rules.switch", "space", "", "on, off", "switch a rule; enter too", DATA,
        "data.rules"),
    Key("rules.value", "e", "value", "value", "type a rule's value", DATA, "data.rules"),
    Key("rules.example", "n", "example(1)", "example", "next row that a rule would change; N back",
        DATA, "data.rules"),
    Key("rules.back", "N", "example(-1)", "", "", DATA, "data.rules"),
    Key("rules.filter", "f", "filter", "row", "go to the row of the example", DATA, "data.rules"),
    Key("rows.filter", "f", "ask('filter')", "filter",
        "only some rows: reason:duplicate tokens>2048 refund", TABLE, "data.rows"),
    Key("rows.search", "slash", "ask('search')", "search",
        "search text, /pattern/ or a condition", TABLE, "data.rows", shown="/"),
    Key("rows.next", "n", "next_match(1)", "next", "next match; N the one before",
        TABLE, "data.rows"),
    Key("rows.previous", "N", "next_match(-1)", "", "", TABLE, "data.rows"),
    Key("rows.go", "g", "ask('go to')", "go to", "go to a row by number, or file:line",
        TABLE, "data.rows"),
    Key("rows.columns", "c", "columns", "columns", "choose columns, sort by one",
        TABLE, "data.rows"),
    Key("rows.view", "v", "next_view", "view", "the row rendered, raw, or in tokens with loss",
        TABLE, "data.rows"),
    Key("rows.ids", "i", "ids", "ids", "numbers of tokens", TABLE, "data.rows"),
    Key("rows.large", "enter", "", "row", "more room for the row, or less", TABLE, "data.rows"),
    Key("rows.scroll", "left_square_bracket", "scroll_detail(-1)", "",
        "scroll the row", TABLE, "data.rows", shown="[ ]"),
    Key("rows.scroll_on", "right_square_bracket", "scroll_detail(1)", "", "",
        TABLE, "data.rows"),
    Key("rows.edit", "e", "edit", "edit", "change the row's text; the file stays as it is",
        TABLE, "data.rows"),
    Key("rows.drop", "delete,backspace", "drop", "drop",
        "leave the row out, or take it back", TABLE, "data.rows", shown="del"),
    Key("rows.drop_all", "D", "drop_all", "drop all", "leave out all rows that are filtered",
        TABLE, "data.rows"),
    Key("rows.clear", "escape", "clear", "clear",
        "end work; forget search, filter, order", TABLE, "data.rows", shown="esc"),
    Key("ask.give", "enter", "", "done", "", DATA, "data.ask"),
    Key("ask.complete", "tab", "", "complete", "", DATA, "data.ask"),
    Key("ask.choose", "up,down", "", "choose", "", DATA, "data.ask", shown="↑ ↓"),
    Key("ask.leave", "escape", "", "leave it", "", DATA, "data.ask", shown="esc"),
    Key("config.edit", "enter", "", "edit",
        "change it, fold, unfold; esc leaves the field", CONFIG, "config"),
    Key("config.leave", "escape", "", "leave the field", "", CONFIG, "config", shown="esc"),
    Key("config.choose", "left,right", "", "choose",
        "go through choices (space too)", CONFIG, "config", shown="← →"),
    Key("config.default", "delete", "", "default",
        "put the default back (backspace too)", CONFIG, "config", shown="del"),
    Key("config.write", "w", "write_config", "write",
        "write the settings to a TOML file", CONFIG, "config"),
    Key("graphs.view", "v", "next_view", "curve",
        "loss, learning rate, gradients, speed", GRAPHS, "graphs"),
    Key("graphs.smooth", "e", "", "EMA", "smoothing: weaker, stronger, off", GRAPHS, "graphs"),
    Key("graphs.log", "l", "", "log y", "logarithmic y axis", GRAPHS, "graphs"),
    Key("graphs.axis", "a", "", "axis", "steps or time along x", GRAPHS, "graphs"),
    Key("graphs.cursor", "left,right", "", "cursor",
        "read curves at a place ([ ] go faster)", GRAPHS, "graphs", shown="← →"),
    Key("graphs.zoom", "plus,minus", "", "zoom x",
        "zoom along x; , . pan; 0 shows all", GRAPHS, "graphs", shown="+ -"),
    Key("log.follow", "f", "", "follow", "go to the newest line and stay there", LOG, "log"),
    Key("log.search", "slash", "", "search", "search; n and N go on", LOG, "log", shown="/"),
    Key("log.level", "v", "", "level", "all lines, warnings, or only errors", LOG, "log"),
    Key("log.wrap", "w", "", "wrap", "go on in the next row, or to the right", LOG, "log"),
    Key("runs.open", "enter", "", "open", "open the run under the cursor", RUNS, "runs"),
    Key("deliver.row", "up,down", "", "answers",
        "answers of base and merged model", RUNS, "deliver", shown="↑ ↓"),
    Key("app.help", "question_mark,f1", "app.help", "keys", "this page", PROGRAM, shown="?"),
    Key("app.palette", "ctrl+p", "app.command_palette", "commands",
        "find a command by its name", PROGRAM),
    Key("app.picture", "f12", "app.picture", "picture",
        "save a picture of the screen (SVG)", PROGRAM, shown="F12"),
    Key("app.quit", "q,ctrl+q,ctrl+c", "app.quit", "quit",
        "quit; asks first while something runs", PROGRAM),
)  # fmt: skip
"""Every key, in the order of the help page."""

PANE_NAMES = ("data", "config", "graphs", "log", "runs", "deliver")
"""Panes, in the order of their number keys."""


_GROUPS = {"data": DATA, "data.rows": TABLE, "config": CONFIG, "graphs": GRAPHS, "log": LOG,
           "runs": RUNS, "deliver": RUNS}  # fmt: skip


def group_of(place: str) -> str:
    """The group of the help page that has the keys of a pane, or of a view of it."""
    return _GROUPS.get(place) or _GROUPS.get(place.partition(".")[0], "")


def bindings(place: str = "app") -> list[Binding]:
    """The bindings of the app, or of one pane."""
    made = [
        Binding(key.key, key.action, key.label, show=False, id=key.id, key_display=key.display)
        for key in KEYS
        if key.place == place and key.action
    ]
    if place == "app":
        made += [
            Binding(str(n), f"pane('{name}')", name.title(), show=False, id=f"pane.{name}")
            for n, name in enumerate(PANE_NAMES, 1)
        ]
    return made


def key(key_id: str) -> Key:
    """One row of the table. Raises KeyError for an id that is not in it."""
    found = {row.id: row for row in KEYS}
    return found[key_id]


def groups() -> Iterator[tuple[str, list[Key]]]:
    """The rows that have something to say, by group, for the help page and the docs."""
    shown: Iterable[Key] = (row for row in KEYS if row.help)
    for name, rows in groupby(shown, key=lambda row: row.group):
        yield name, list(rows)
