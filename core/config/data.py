"""Sections about the data: which rows are learned, and what is repaired or rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import field_validator

from core.config.setting import Section, names_of, setting

LONGEST = 1_048_576
"""The most tokens that a row may have."""


def _is_there(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long to be one name
        return False


class DataConfig(Section):
    """Which rows are learned, and how they become tokens."""

    files: list[str] = setting(
        [],
        "Files with the training rows (jsonl, json, csv, tsv, parquet, arrow, txt; also as .gz "
        "and .zst), folders, patterns, or a data set of the hub: owner/name.",
        common=True,
    )
    eval_files: list[str] = setting(
        [], "Own held-out rows. Empty: a part of the training rows is held out.", common=True
    )
    format: Literal["auto", "alpaca", "sharegpt", "messages", "prompt_completion", "text"] = (
        setting(
            "auto",
            "Shape of the rows. auto looks at them; text: learn from all of it.",
        )
    )
    columns: dict[str, str] = setting(
        {},
        "What the file calls our fields, where it has names of its own: prompt=Frage, "
        "completion=Antwort.",
    )
    weights: list[float] = setting(
        [],
        "Shares of the entries of data.files in an epoch, one each, such as 80, 20 for a domain "
        "and general data. Sets that are too small for their share are seen more than once. "
        "Empty: every row once.",
    )
    mix_by: Literal["rows", "tokens"] = setting(
        "rows", "What the shares of data.weights are shares of."
    )
    eval_fraction: float = setting(
        0.1, "Part of the rows held out for evaluation when there is no eval file.", ge=0, le=0.5
    )
    max_train_samples: int | None = setting(
        None, "Use only this many rows, chosen by the seed. Empty: all.", unit="rows", ge=1
    )
    hub_sample_rows: int = setting(
        50_000,
        "Of a hub's data set above 5 GB so many rows, drawn by data.seed from all over it, are "
        "streamed instead of downloading all of it. 0: always whole files.",
        unit="rows",
        ge=0,
        le=10_000_000,
    )
    max_length: int = setting(
        2048,
        "Longest row in tokens; what is longer is cut at the end, and counted.",
        unit="tokens",
        common=True,
        ge=16,
        le=LONGEST,
    )
    packing: bool = setting(
        True,
        "Put several short rows into one sequence, without their seeing each other: less padding, "
        "more speed.",
        common=True,
    )
    special_tokens_in_text: Literal["keep", "literal", "reject"] = setting(
        "keep",
        "What a special token's name in a text becomes. keep: that token, as everywhere else. "
        "literal: ordinary text. reject: the row is left out.",
    )
    seed: int = setting(42, "Seed of the shuffle and the split.", ge=0)
    stratify_by: str | None = setting(
        None,
        "Field of the rows, such as a category, whose values keep their shares in the held-out "
        "part. Empty: the split is by chance alone.",
    )
    leaks: Literal["exact", "near"] = setting(
        "exact",
        "Which held-out rows are left out, because the training sees them: those that repeat a "
        "training row, or also those that nearly do. Near ones are counted in any case.",
    )
    overlay: str | None = setting(
        None,
        "File with the rows that were dropped or edited in the inspector, which makes it. The data "
        "itself is never changed. Empty: none.",
    )

    @field_validator("files", "eval_files", mode="before")
    @classmethod
    def split_files(cls, value: object) -> object:
        """Accept one path, or several with commas, from a form field or a flag."""
        if isinstance(value, str) and "," in value and _is_there(value.strip()):
            return [value.strip()]
        return names_of(value)

    @field_validator("columns", mode="before")
    @classmethod
    def split_columns(cls, value: object) -> object:
        """Accept ``prompt=Frage, completion=Antwort`` from a form field or a flag."""
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if any(not (ours.strip() and theirs.strip()) for ours, _, theirs in pairs):
            raise ValueError("write our name = the file's name, with commas between")
        return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}

    @field_validator("weights", mode="before")
    @classmethod
    def split_weights(cls, value: object) -> object:
        """Accept ``80, 20`` or ``80:20`` from a form field or a flag."""
        return names_of(value.replace(":", ",") if isinstance(value, str) else value)

    @field_validator("weights")
    @classmethod
    def above_zero(cls, value: list[float]) -> list[float]:
        if any(weight <= 0 for weight in value):
            raise ValueError("every weight must be above 0; leave out what is not to be learned")
        return value


class CleanConfig(Section):
    """Which rules repair a row or reject it before it is learned; each is counted."""

    line_endings: bool = setting(
        True, "Repair: Windows and old Mac line ends become plain ones, in code as well."
    )
    mojibake: bool = setting(
        True, "Repair: text that was read in the wrong encoding, such as Ã© for é."
    )
    control_characters: bool = setting(
        True,
        "Repair: control characters and invisible ones go. Tabs, line ends and the joiners that "
        "emoji and scripts need stay.",
    )
    html: bool = setting(
        False,
        "Repair: HTML tags go, entities become characters. Code, List<int> and a < b stay. "
        "For text from web pages; not for rows that teach HTML.",
        common=True,
    )
    whitespace: bool = setting(
        False,
        "Repair: repeated spaces and blank lines become one. Code, tables, lists and indentation "
        "stay.",
        common=True,
    )
    empty: bool = setting(True, "Reject: a turn that holds nothing visible once it is repaired.")
    min_answer_chars: int | None = setting(
        None, "Reject: answers shorter than this together.", unit="characters", ge=1
    )
    max_chars: int | None = setting(
        None, "Reject: rows longer than this, all turns together.", unit="characters", ge=1
    )
    min_answer_tokens: int | None = setting(
        None, "Reject: fewer tokens than this that carry loss.", unit="tokens", ge=1
    )
    max_tokens: int | None = setting(
        None,
        "Reject: rows longer than this, instead of cutting them at data.max_length.",
        unit="tokens",
        ge=1,
    )
    placeholders: bool = setting(
        False,
        "Reject: unfilled places such as {{name}}, <your city> or [INSERT DATE]. Off, as some sets "
        "mean them.",
    )
    refusals: bool = setting(
        False, "Reject: answers that refuse, or speak of being an AI language model (English)."
    )
    languages: list[str] = setting(
        [], "Reject: answers surely in another language than these, for example en, de. Empty: all."
    )
    near_duplicates: bool = setting(
        False,
        "Reject: rows that nearly repeat another one. Off, as rows made from one pattern look "
        "alike on purpose; exact repetitions are always rejected.",
        common=True,
    )
    near_threshold: float = setting(
        0.85, "How much of their word groups two rows must share to count as near duplicates.",
        ge=0.5, le=1,
    )  # fmt: skip
    near_keep: Literal["first", "longest_answer"] = setting(
        "first", "Which row of a group of near duplicates is kept."
    )
    secrets: Literal["show", "mask", "drop"] = setting(
        "show",
        "Keys, tokens and passwords that are found: show counts them, mask puts a word in their "
        "place, drop rejects the row.",
        common=True,
    )
    personal_data: Literal["show", "mask", "drop"] = setting(
        "show",
        "E-mail addresses, phone numbers, payment cards, IBANs and IP addresses that are found: "
        "the same choice.",
        common=True,
    )

    @field_validator("languages", mode="before")
    @classmethod
    def split_languages(cls, value: object) -> object:
        """Accept ``en, de`` from a form field or a flag."""
        return names_of(value)

    @field_validator("languages")
    @classmethod
    def language_codes(cls, value: list[str]) -> list[str]:
        for code in value:
            if not (2 <= len(code) <= 3 and code.isascii() and code.islower()):
                raise ValueError(f"{code!r} is no language code: write en, de, zh and so on")
        return value
