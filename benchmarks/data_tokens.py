"""What tokens cost: tokenizing and masking beside TRL's own preparation, rendering, packing and
the truncation forecast.

    python benchmarks/data_tokens.py prepare --model DIR --rows 100000   # ours and TRL's in turns
    python benchmarks/data_tokens.py render --model DIR                  # the template's process
    python benchmarks/data_tokens.py pack                                # a million rows
    python benchmarks/data_tokens.py forecast

Each prints one JSON object; times are the least of ``--repeats``. The rows are made up from a
seed: one to three turns of random words, 500 tokens on average with SmolLM2's tokenizer.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from limits import at_least

from core.data.chats.chat import Chat
from core.data.tokens.codec import ChatCodec
from core.data.tokens.encoded import Encoded
from core.data.tokens.forecast import forecast
from core.data.tokens.pack import efficiency, pack

BATCH, MAX_LENGTH = 256, 2048
SYLLABLES = [
    first + last
    for first in ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "ch")
    for last in ("a", "e", "i", "o", "u", "ai", "ea", "ou", "er", "on")
]


def made_up(count: int, seed: int = 7) -> list[Chat]:
    """Chats of words that are as unevenly frequent as those of a language."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(20000)]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))

    def text(least: int, most: int) -> str:
        chosen = rng.choices(words, cum_weights=weights, k=rng.randint(least, most))
        return " ".join(chosen).capitalize() + "."

    chats: list[Chat] = []
    for _ in range(count):
        turns = rng.choice((1, 1, 2, 3))
        chat: Chat = [{"role": "system", "content": text(5, 20)}] if rng.random() < 0.3 else []
        for _ in range(turns):
            chat.append({"role": "user", "content": text(5, 40)})
            chat.append({"role": "assistant", "content": text(20, 120)})
        chats.append(chat)
    return chats


def ours(codec: ChatCodec, chats: Sequence[Chat]) -> int:
    """Ids and labels of all rows, as a run gets them; the tokens that carry loss."""
    total = 0
    for start in range(0, len(chats), BATCH):
        for row in codec.encode_many(chats[start : start + BATCH], MAX_LENGTH):
            assert isinstance(row, Encoded)
            total += sum(int((labels >= 0).sum()) for _, labels in row.sequences)
    return total


class Trl:
    """SFTTrainer's own preparation, with a template that marks the answers for it, or without."""

    def __init__(self, model: str, chats: Sequence[Chat], *, masked: bool, processes: int):
        from datasets import Dataset, disable_caching, disable_progress_bars
        from transformers import AutoTokenizer
        from trl.trainer.sft_config import SFTConfig

        disable_progress_bars()
        disable_caching()
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        template = _with_marks(str(self.tokenizer.chat_template)) if masked else None
        self.trainer = SimpleNamespace(
            _tokenizer=self.tokenizer, chat_template=template, completion_only_loss=False
        )
        self.config = SFTConfig(
            output_dir=tempfile.mkdtemp(), max_length=MAX_LENGTH, packing=False, use_cpu=True,
            bf16=False, assistant_only_loss=masked,
            dataset_num_proc=processes if processes > 1 else None,
        )  # fmt: skip
        self.data = Dataset.from_list([{"messages": chat} for chat in chats])

    def run(self) -> Any:
        from trl import SFTTrainer

        return SFTTrainer._prepare_dataset(
            self.trainer, self.data, self.tokenizer, self.config, False, None, "train"
        )


def _with_marks(template: str) -> str:
    """SmolLM2's template with marks around what the assistant says."""
    turn = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    if turn not in template:
        raise SystemExit("the side by side with marks is written for SmolLM2's template")
    said = "{{ message['content'] + '<|im_end|>' }}"
    return template.replace(
        turn,
        "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}"
        "{% generation %}" + said + "{% endgeneration %}{% else %}" + said + "{% endif %}{{'\n'}}",
    )


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The least time of several runs, and what the last one gave."""
    best, result = float("inf"), None
    for _ in range(repeats):
        begin = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - begin)
    return best, result


def prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second here and there. All take turns, so that a busy machine is busy for all."""
    chats = made_up(options.rows)
    codec = ChatCodec.load(options.model)
    ways: dict[str, Callable[[], Any]] = {"ours": lambda: ours(codec, chats)}
    for name, masked, processes in (("trl_masked", True, 1), ("trl_plain", False, 1),
                                    ("trl_masked_2_processes", True, 2)):  # fmt: skip
        ways[name] = Trl(options.model, chats, masked=masked, processes=processes).run
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            took, results[name] = timed(way, 1)
            seconds[name] = min(took, seconds.get(name, took))
    found: dict[str, Any] = {
        name: {"rows_per_second": round(options.rows / took)} for name, took in seconds.items()
    }
    found["ours"]["loss_tokens"] = results["ours"]
    labels = results["trl_masked"].with_format("numpy")
    found["trl_masked"]["loss_tokens"] = sum(int((row["labels"] >= 0).sum()) for row in labels)
    return {"rows": options.rows} | found


def render(options: argparse.Namespace) -> dict[str, Any]:
    """What the template's process costs."""
    chats = made_up(options.rows)
    begin = time.perf_counter()
    codec = ChatCodec.load(options.model)
    codec.render(chats[0])
    started = time.perf_counter() - begin
    jobs = [codec.template.job(chat) for chat in chats]

    def all_rows() -> None:
        for start in range(0, len(jobs), BATCH):
            codec.template.render_many(jobs[start : start + BATCH])

    seconds, _ = timed(all_rows, options.repeats)
    masking, _ = timed(lambda: [codec._masker.mask(chats[n : n + BATCH])
                                for n in range(0, len(chats), BATCH)], options.repeats)  # fmt: skip
    return {
        "load_and_first_rendering_seconds": round(started, 3),
        "rendered_rows_per_second": round(len(jobs) / seconds),
        "rendered_and_masked_rows_per_second": round(len(jobs) / masking),
    }


def packing(options: argparse.Namespace) -> dict[str, Any]:
    """Best fit over made-up lengths."""
    lengths = np.minimum(_lengths(options.rows), MAX_LENGTH).tolist()
    seconds, sequences = timed(lambda: pack(lengths, MAX_LENGTH), options.repeats)
    filled = efficiency(sum(lengths), len(sequences), MAX_LENGTH)
    return {"rows": options.rows, "seconds": round(seconds, 2), "efficiency": round(filled, 4)}


def forecasting(options: argparse.Namespace) -> dict[str, Any]:
    """The cuts at every length."""
    lengths = _lengths(options.rows)
    starts, ends = lengths // 3, lengths - 1
    work = lambda: forecast(lengths, starts, starts, ends).table  # noqa: E731
    seconds, _ = timed(work, options.repeats)
    return {"rows": options.rows, "seconds": round(seconds, 4)}


def _lengths(count: int) -> Any:
    drawn = np.random.default_rng(0).lognormal(5.7, 0.7, count)
    return np.minimum(drawn.astype(np.int64) + 20, 60000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = {"prepare": prepare, "render": render, "pack": packing, "forecast": forecasting}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("--model", type=str, help="a folder with SmolLM2's tokenizer")
    parser.add_argument(
        "--rows", type=at_least(1), help="default: 4,000, and 1,000,000 without a model"
    )
    parser.add_argument("--repeats", type=at_least(1), default=3)
    options = parser.parse_args()
    needs_model = options.kind in ("prepare", "render")
    if needs_model and not (options.model and Path(options.model).is_dir()):
        parser.error("--model names a folder with a tokenizer")
    options.rows = options.rows or (4000 if needs_model else 1_000_000)
    print(json.dumps(kinds[options.kind](options), indent=2))


if __name__ == "__main__":
    main()
