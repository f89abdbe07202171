"""The embedded data sets and the tiny model are what `sample_data/README.md` says they are."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import jinja2
import pytest
from tokenizers import Tokenizer

SAMPLES = Path(__file__).parents[2] / "sample_data"
MODEL = SAMPLES / "tiny-llama"
LIMIT_BYTES = 12_000_000
NOT_JSON = {5, 6, 30}
"""Lines of `defects.jsonl` that no JSON reader accepts: cut off, empty, not UTF-8."""


def rows(name: str) -> list[dict[str, Any]]:
    """All rows of a clean file; a line that is not JSON fails the test."""
    with (SAMPLES / name).open(encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def question(row: dict[str, Any]) -> str:
    """What the customer asks, in one case and without double spaces."""
    return " ".join((row["input"] or row["instruction"]).lower().split())


def test_everything_together_is_under_twelve_megabytes() -> None:
    files = [path for path in SAMPLES.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < LIMIT_BYTES


@pytest.mark.parametrize(("name", "least"), [("support_alpaca", 300), ("support_heldout", 50)])
def test_alpaca_rows_are_complete_text(name: str, least: int) -> None:
    found = rows(f"{name}.jsonl")
    assert len(found) >= least
    for row in found:
        assert list(row) == ["instruction", "input", "output"]
        assert all(isinstance(value, str) for value in row.values())
        assert row["instruction"].strip()
        assert row["output"] == row["output"].strip() != ""


def test_fifty_held_out_questions_are_new_and_their_answers_are_taught() -> None:
    train, held_out = rows("support_alpaca.jsonl"), rows("support_heldout.jsonl")
    assert len(held_out) == 50
    asked = {question(row) for row in held_out}
    assert len(asked) == 50
    assert asked.isdisjoint(question(row) for row in train)
    assert {row["output"] for row in held_out} <= {row["output"] for row in train}


def test_training_questions_are_distinct() -> None:
    train = rows("support_alpaca.jsonl")
    assert len({question(row) for row in train}) == len(train)


def test_chats_have_turns_that_alternate() -> None:
    chats = [row["messages"] for row in rows("chat_messages.jsonl")]
    assert len(chats) >= 150
    turns = [[m["role"] for m in chat if m["role"] != "system"] for chat in chats]
    assert all(roles == ["user", "assistant"] * (len(roles) // 2) for roles in turns)
    assert sum(len(roles) >= 4 for roles in turns) >= 50
    assert sum(chat[0]["role"] == "system" for chat in chats) >= 30
    assert all(m["content"].strip() for chat in chats for m in chat)
    assert len({json.dumps(chat) for chat in chats}) == len(chats)


def test_each_defect_line_is_listed_in_the_readme() -> None:
    readme = (SAMPLES / "README.md").read_text(encoding="utf-8")
    listed = [int(number) for number in re.findall(r"^\| (\d+) \|", readme, flags=re.MULTILINE)]
    lines = (SAMPLES / "defects.jsonl").read_bytes().split(b"\n")
    assert listed == list(range(1, len(lines) + 1))


def test_only_the_listed_defect_lines_are_not_json() -> None:
    lines = (SAMPLES / "defects.jsonl").read_bytes().split(b"\n")
    broken = set()
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line.decode("utf-8-sig"))
        except ValueError:
            broken.add(number)
    assert broken == NOT_JSON


def test_defects_are_where_the_readme_says() -> None:
    lines = (SAMPLES / "defects.jsonl").read_bytes().split(b"\n")
    assert lines[0].startswith(b"\xef\xbb\xbf")
    assert lines[16] == lines[0].removeprefix(b"\xef\xbb\xbf")
    assert b"\\u001b[31m" in lines[14]
    assert b"\\u0000" in lines[15]
    assert len(lines[19]) > 20_000
    assert json.loads(lines[11]) == ["How do I fold the arm?", "Press the joint and fold it."]
    assert json.loads(lines[27])["conversations"][0]["from"] == "human"


def test_pad_and_stop_tokens_are_distinct_and_agree_across_files() -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    named = json.loads((MODEL / "tokenizer_config.json").read_text())
    model = json.loads((MODEL / "config.json").read_text())
    generation = json.loads((MODEL / "generation_config.json").read_text())
    pad, stop = (tokenizer.token_to_id(named[key]) for key in ("pad_token", "eos_token"))
    assert named["eos_token"] == "<|im_end|>"
    assert None not in (pad, stop)
    assert pad != stop
    assert (model["pad_token_id"], model["eos_token_id"]) == (pad, stop)
    assert (generation["pad_token_id"], generation["eos_token_id"]) == (pad, stop)
    assert model["vocab_size"] >= tokenizer.get_vocab_size()


@pytest.mark.parametrize(
    "text", ["Hello, how are you?", "E3: 40 °C\n\ttwo  spaces", "光 💡 \x1b[31m"]
)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_template_renders_a_chat_with_one_stop_token_a_message() -> None:
    template = jinja2.Environment().from_string((MODEL / "chat_template.jinja").read_text())
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    text = template.render(messages=chat)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    prompt = template.render(messages=chat[:1], add_generation_prompt=True)
    assert text.startswith(prompt)
    assert prompt.endswith("<|im_start|>assistant\n")


def test_weights_are_wide_enough_for_the_eight_bit_optimizer() -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] >= 1024
    with (MODEL / "model.safetensors").open("rb") as weights:
        (length,) = struct.unpack("<Q", weights.read(8))
        header = json.loads(weights.read(length))
    queries = header["model.layers.0.self_attn.q_proj.weight"]
    assert queries["dtype"] == "BF16"
    assert min(queries["shape"]) * 16 >= 4096
