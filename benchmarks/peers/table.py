"""From results to the Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from peers.results import Result, forgotten
from peers.shapes import ENTRANTS, ROWS

_OURS = tuple(name for name, entrant in ENTRANTS.items() if entrant.peer == "finetui")
_HEAD = (
    "workload", "who", "tokens/s", "ratio", "peak GiB", "ratio", "reserved", "device", "first step",
)  # fmt: skip


def markdown(results: list[Result]) -> str:
    """One line for each workload and entrant; ratios are to the best variant of Unsloth.

    Several turns of an entrant become their median, with the spread behind it. What was changed
    for a measurement, or noted of it, sets it apart from others of the same workload. Results of
    workloads that are not known any more are named below.
    """
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    known = [result for result in results if result["row"] in ROWS]
    for row in ROWS.values():
        of_row = [result for result in known if result["row"] == row.name]
        for changes in dict.fromkeys(_changes(result) for result in of_row):
            alike = [result for result in of_row if _changes(result) == changes]
            lines += _entries(", ".join(filter(None, (row.what, changes))), alike)
    gone = ", ".join(forgotten(results))
    left_out = [f"Left out, of workloads that are not known: {gone}."] if gone else []
    return "\n".join([*lines, "", *_notes(known), *left_out])


def _entries(what: str, results: list[Result]) -> list[str]:
    """The lines of one workload."""
    best, lines = _best_peer(results), []
    for entrant in ENTRANTS:
        own = [result for result in results if result["entrant"] == entrant]
        for remark in dict.fromkeys(_remark(result) for result in own):
            turns = [result for result in own if _remark(result) == remark]
            who = f"{entrant} ({remark})" if remark else entrant
            lines.append(_entry(what, who, turns, best if entrant in _OURS else None))
    return lines


def _changes(result: Result) -> str:
    """What differs from the workload as it is known: for all who took part."""
    given = result.get("changes") or {}
    return ", ".join(
        f"{name} {value}"
        for name, value in given.items()
        if getattr(ROWS[result["row"]], name, None) != value
    )


def _remark(result: Result) -> str:
    """What sets a measurement apart from others of its entrant: settings, and what was noted."""
    return ", ".join(
        [*(result.get("set") or []), *([result["note"]] if result.get("note") else [])]
    )


def _best_peer(results: list[Result]) -> Result | None:
    """The fastest measured variant of Unsloth, else of any peer, as medians."""
    measured = [r for r in results if r["outcome"] == "measured" and r["entrant"] not in _OURS]
    rivals = [r for r in measured if r["entrant"].startswith("unsloth")] or measured
    if not rivals:
        return None
    groups = {name: [r for r in rivals if r["entrant"] == name] for name in ENTRANTS}
    medians = {
        name: {key: _median(turns, key) for key in ("tokens_per_second", "peak_allocated_gib")}
        for name, turns in groups.items()
        if turns
    }
    return max(medians.values(), key=lambda one: one["tokens_per_second"] or 0)


def _entry(what: str, who: str, turns: list[Result], best: Result | None) -> str:
    """One line; ``best`` is whom ratios are to, None for who has none."""
    measured = [turn for turn in turns if turn["outcome"] == "measured"]
    if not measured:
        last = turns[-1]
        why = last["outcome"] + (f": {last['error']}" if last.get("error") else "")
        return _line([what, who, why.replace("|", "/")[:120], *[""] * (len(_HEAD) - 3)])
    if measured[0].get("longest_length"):
        return _line(
            [what, who, f"{max(r['longest_length'] for r in measured):,} tokens long", "", "",
             "", _shown(measured, "peak_reserved_gib"), _shown(measured, "device_peak_gib"), ""]
        )  # fmt: skip
    rate, peak = _median(measured, "tokens_per_second"), _median(measured, "peak_allocated_gib")
    rates = [turn["tokens_per_second"] for turn in measured if turn.get("tokens_per_second")]
    first = _median(measured, "first_step_seconds")
    spread = f" ({min(rates):,.0f}-{max(rates):,.0f})" if len(rates) > 1 else ""
    return _line(
        [
            what,
            who,
            "" if rate is None else f"{rate:,.0f}{spread}",
            _ratio(rate, best, "tokens_per_second"),
            _shown(measured, "peak_allocated_gib"),
            _ratio(peak, best, "peak_allocated_gib"),
            _shown(measured, "peak_reserved_gib"),
            _shown(measured, "device_peak_gib"),
            "" if first is None else f"{first:.1f} s",
        ]
    )


def _notes(results: list[Result]) -> list[str]:
    """What the figures were measured on and with."""
    cards = sorted({result["card"] for result in results if "card" in result})
    lines = [f"Card: {', '.join(cards)}."] if cards else []
    for entrant in ENTRANTS:
        last = next((r for r in reversed(results) if r["entrant"] == entrant), None)
        if last is None:
            continue
        named = ", ".join(
            f"{name} {number}" for name, number in _versions(results, entrant).items()
        )
        note = f" ({ENTRANTS[entrant].note})" if ENTRANTS[entrant].note else ""
        dtype = f"; adapter {last['adapter_dtype']}" if "adapter_dtype" in last else ""
        path = f"; path {last['path']}: {last.get('why', '')}" if "path" in last else ""
        lines.append(f"- {entrant}{note}{dtype}{path}: {named or last['outcome']}")
    return lines


def _versions(results: list[Result], entrant: str) -> dict[str, str]:
    """All versions of each library that an entrant was measured with."""
    found: dict[str, list[str]] = {}
    own = (result for result in results if result["entrant"] == entrant)
    for result in own:
        for name, number in (result.get("versions") or {}).items():
            found[name] = list(dict.fromkeys([*found.get(name, []), number]))
    return {name: " and ".join(numbers) for name, numbers in found.items()}


def _median(results: list[Result], key: str) -> float | None:
    values = [result[key] for result in results if result.get(key) is not None]
    return statistics.median(values) if values else None


def _shown(results: list[Result], key: str) -> str:
    value = _median(results, key)
    return "" if value is None else f"{value:.2f}"


def _ratio(value: float | None, best: Result | None, key: str) -> str:
    other = best.get(key) if best else None
    return f"{value / other:.2f}" if value is not None and other else ""


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
