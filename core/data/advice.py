"""What to do where no row can be used, by the reasons of the rejections."""

from __future__ import annotations

from collections import Counter

_MAP = "--data.columns prompt=NAME,completion=NAME (or text=NAME, messages=NAME)"
_FORMATS = (
    "a row has instruction and output, prompt and completion, messages, conversations or text"
)
_TURNS = "begin with the user, and let user and assistant take turns up to an answer"
_ADVICE = {
    "not_json": "write one JSON object a line, as json.dumps(row) does, or pandas with "
    'df.to_json(NAME, orient="records", lines=True)',
    "not_an_object": f"write objects with named fields: {_FORMATS}",
    "not_utf8": "convert the file with its own encoding: iconv -f CP1252 -t UTF-8 OLD > NEW",
    "ragged_row": "write each record with as many fields as the header names, and quote those that "
    "hold the separator",
    "unterminated_quote": "close each quote, and write quotes inside of a field twice",
    "broken_quotes": "write quotes inside of a quoted field twice",
    "unknown_format": f"{_FORMATS}; name other fields with {_MAP}",
    "missing_column": "name fields that are there in data.columns",
    "lone_turn": 'put the turns of one chat into one row: {"messages": [{"role": "user", '
    '"content": ..}, {"role": "assistant", "content": ..}]}',
    "preference_pair": "learn from the better answer: --data.columns "
    "prompt=prompt,completion=chosen",
    "labelled_pair": "keep the good answers in a file of their own, and drop the judgement",
    "unsupported_field": "leave the pictures, the sound and their rows out: text alone is learned",
    "wrong_type": "write texts as texts, and turns as a list of objects with role and content",
    "unknown_role": "name the file's words for roles: --data.columns "
    "messages=FIELD,user=WORD,assistant=WORD",
    "missing_role": "name the field of the role: --data.columns messages=FIELD,role=NAME",
    "no_assistant": "each row needs an answer: a turn with the role assistant",
    "starts_with_assistant": _TURNS,
    "two_users_in_a_row": _TURNS,
    "two_assistants_in_a_row": _TURNS,
    "system_not_first": "put the system turn first",
    "answer_cut_off": "raise data.max_length: no row has an answer within it",
    "too_short": "lower clean.min_answer_chars or clean.min_answer_tokens",
    "too_long": "raise clean.max_chars or clean.max_tokens",
    "other_language": "add the language to clean.languages, or clear it",
    "placeholder": "fill the placeholders in, or set clean.placeholders = false",
    "refusal": "set clean.refusals = false to learn from refusals too",
    "dropped_by_hand": "take decisions back in the inspector (del under problems), or name another "
    "data.overlay",
}
_MISSING = f"{_FORMATS}; name the field that holds it with {_MAP}"
_MOST = 2


def advice(rejected: Counter[str]) -> tuple[str, ...]:
    """What to do about the most frequent reasons, at most two; none for reasons that say all."""
    found = [_of(reason) for reason, _ in rejected.most_common()]
    return tuple(dict.fromkeys(text for text in found if text))[:_MOST]


def _of(reason: str) -> str:
    if reason.startswith("missing_"):
        return _ADVICE.get(reason, _MISSING)
    if reason.startswith("empty_"):
        return "fill the empty fields, or name others with data.columns"
    return _ADVICE.get(reason, "")
