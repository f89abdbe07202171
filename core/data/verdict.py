"""What the figures mean, in plain words, by the rules that guides to fine-tuning agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from core.config.counted import counted
from core.config.data import LONGEST
from core.data.clean.private import PERSONAL, SECRET
from core.data.overlay import DROPPED
from core.data.stats import TokenStats
from core.data.survey import Survey
from core.data.tokens.forecast import Forecast

FEW_ROWS = 1000
MANY_ROWS = 100_000
SHORT_ANSWER, LONG_ANSWER = 10, 4096
"""Characters between which guides keep answers."""
FOUND = {"personal_data": PERSONAL, "secrets": (SECRET,)}
"""Settings of [clean], and the kinds of what they are about."""

Level = Literal["good", "note", "warning"]


@dataclass(frozen=True)
class Finding:
    """One sentence about the data, and how much it matters."""

    level: Level
    text: str


def verdict(
    survey: Survey, facts: Mapping[str, Any], tokens: TokenStats | None = None
) -> list[Finding]:
    """The findings, warnings first. Never empty."""
    if not survey.tally.kept:
        return [Finding("warning", "no row can be learned from: see the reasons above")]
    found = [finding for rule in _RULES for finding in rule(survey, facts)]
    if tokens is not None and tokens.rows:
        found += _in_tokens(survey, tokens)
    order = ("warning", "note", "good")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _size(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    kept = survey.tally.kept
    if kept < FEW_ROWS:
        yield Finding(
            "warning",
            f"{counted(kept, 'row is few: it', 'rows are few: they')} will be learned by heart. "
            "Take 3 epochs or fewer, adapter.lora_dropout 0.1 to 0.2, train.weight_decay 0.05, "
            "adapter.r 8, and stop when the held-out loss rises. More good rows help most; 500 "
            "clean ones beat 5,000 noisy ones",
        )
    elif kept > MANY_ROWS:
        yield Finding(
            "note",
            f"{kept:,} rows: 1,000 to 10,000 good ones often do better than so many. Try "
            "data.max_train_samples = 10000 first, with 1 or 2 epochs",
        )
    else:
        yield Finding("good", f"{kept:,} rows are enough for an adapter")


def _encodings(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    for source in survey.sources:
        if source.warning:
            yield Finding("warning", source.warning)


def _formats(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    formats = survey.tally.formats.most_common()
    if len(formats) > 1:
        listed = ", ".join(f"{counted(rows, 'row')} of {name}" for name, rows in formats)
        yield Finding("note", f"the rows are of several formats, each read as its own: {listed}")
    twice = survey.tally.notes["other_format_left_out"]
    if twice:
        yield Finding(
            "warning",
            f"{counted(twice, 'row has', 'rows have')} turns and another question with its answer "
            "as well: the turns are learned. To learn the other side, set data.format",
        )


def _unlearned(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    chats = survey.tally.kept + sum(facts["duplicates"].values())
    warning = survey.tally.unlearned.warning(chats)
    if warning:
        yield Finding("warning", warning)


def _uncounted(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    rules = ("min_answer_tokens", "max_tokens")
    asked = [f"clean.{name}" for name in rules if getattr(survey.config.clean, name) is not None]
    if asked and not survey.counted:
        yield Finding(
            "warning",
            f"{' and '.join(asked)} did nothing here: no model counts the tokens. Name one with "
            "--model; a run applies them",
        )


def _sampled(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    for sample in survey.samples:
        yield Finding(
            "note", f"{sample.words}. data.hub_sample_rows takes more of it; 0: all, downloaded"
        )


def _rejected(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    tally = survey.tally
    lost = tally.rejected.total()
    repeated = sum(facts["duplicates"].values())
    known = {*facts["duplicates"], DROPPED}  # what a person left out says nothing of the file
    broken = lost - repeated - tally.rejected[DROPPED]
    if broken > 0.05 * tally.read:
        reason = next(r for r, _ in tally.rejected.most_common() if r not in known)
        yield Finding(
            "warning",
            f"{broken:,} of {counted(tally.read, 'row')} ({broken / tally.read:.0%}) cannot be "
            f"used, most for {reason}: look whether the file is what you think it is",
        )
    if repeated > 0.02 * tally.read:
        yield Finding(
            "note",
            f"{repeated:,} of {tally.read:,} rows ({repeated / tally.read:.0%}) "
            f"{'repeats' if repeated == 1 else 'repeat'} another one and "
            f"{'is' if repeated == 1 else 'are'} left out: look how the set was made",
        )


def _answers(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    kept = survey.kept
    chars = survey.answer_chars[kept]
    answered = chars[chars > 0]  # raw texts have no answers
    if not len(answered):
        return
    short, long = int((answered < SHORT_ANSWER).sum()), int((answered > LONG_ANSWER).sum())
    if short > 0.1 * len(answered):
        yield Finding(
            "note",
            f"{counted(short, 'row')} ({short / len(answered):.0%}) "
            f"{'answers' if short == 1 else 'answer'} in fewer than {SHORT_ANSWER} characters: "
            "right for labels, poor for chat (clean.min_answer_chars)",
        )
    if long > 0.05 * len(answered):
        yield Finding(
            "note",
            f"{counted(long, 'row')} ({long / len(answered):.0%}) "
            f"{'has an answer' if long == 1 else 'have answers'} of more "
            f"than {LONG_ANSWER:,} characters: see that they are not cut (clean.max_chars)",
        )


def _sameness(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    variety = facts["variety"]
    sampled, top = variety["sampled"], variety["beginnings"]["top"]
    words, count = next(iter(top.items()), ("", 0))
    if sampled >= 50 and words and count > 0.3 * sampled:
        yield Finding(
            "note",
            f"{count / sampled:.0%} of the prompts begin with “{words}”: the model may answer "
            "well in this form only. Ask in other words too",
        )
    orders = facts["orders"]
    if len(orders) == 1 and next(iter(orders)) in ("user-assistant", "system-user-assistant"):
        yield Finding(
            "note",
            "every row is one question and one answer: a conversation of several turns is not "
            "learned from them",
        )


def _languages(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    languages = facts["variety"]["languages"]
    counts = {name: n for name, n in languages["counts"].items() if name != "unsure"}
    told = sum(counts.values())
    shares = {name: n / told for name, n in counts.items() if n > 0.05 * told}
    if told >= 20 and len(shares) > 1:
        listed = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        yield Finding("note", f"several languages in a sample of the answers: {listed}")


def _private(survey: Survey, facts: Mapping[str, Any]) -> Iterator[Finding]:
    notes = survey.tally.notes
    for setting, kinds in FOUND.items():
        if notes[setting]:  # masked already
            continue
        counts = {kind: notes[f"{kind}_found"] for kind in kinds if notes[f"{kind}_found"]}
        if counts:
            listed = ", ".join(
                f"{kind} in {counted(count, 'row')}" for kind, count in counts.items()
            )
            yield Finding(
                "warning",
                f"{setting.replace('_', ' ')} found ({listed}): look at them, and set "
                f"clean.{setting} to mask or drop. What is not found may be there all the same",
            )


def _in_tokens(survey: Survey, tokens: TokenStats) -> Iterator[Finding]:
    rows, limit = tokens.rows, survey.config.data.max_length
    cut, lost = tokens.truncated, survey.tally.rejected["answer_cut_off"]
    if cut or lost:
        yield Finding(
            "warning" if cut + lost > 0.01 * rows else "note",
            f"{cut:,} of {counted(rows, 'row')} {'is' if cut == 1 else 'are'} cut at {limit:,} "
            f"tokens and {'does' if cut == 1 else 'do'} not learn to stop, "
            f"{counted(lost, 'loses its', 'lose their')} whole answer: "
            f"{_longer(survey.forecast, limit)}leave long rows out (clean.max_tokens)",
        )
    untaught = rows - tokens.stop_trained - cut
    if untaught > 0.01 * rows:
        yield Finding(
            "warning",
            f"no stop token is taught by {untaught:,} of {counted(rows, 'row')}: the tuned model "
            "may not know when to end. Take another chat template",
        )
    elif tokens.stop_trained:
        yield Finding("good", "the stop token is learned")


def _longer(forecast: Forecast, limit: int) -> str:
    """The advice to take the proposed length, where that is a longer one."""
    if forecast.proposed <= limit:
        return ""
    enough = f" ({forecast.proposed:,} leaves nearly all whole)"
    return f"raise data.max_length{enough if forecast.proposed < LONGEST else ''}, or "


_RULES: tuple[Callable[[Survey, Mapping[str, Any]], Iterator[Finding]], ...] = (
    _encodings, _sampled, _formats, _unlearned, _uncounted, _size, _rejected, _answers, _sameness,
    _languages, _private,
)  # fmt: skip
