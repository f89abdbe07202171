"""Answers: of the base, with the adapter, of the merged model; and how they compare.

Answers are greedy, so that the same model gives the same ones again.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from core.config.errors import InputError
from core.data.chats.formats import Chat
from core.data.tokens.codec import ChatCodec
from core.model.adapters import load_adapter
from core.model.load import device_of, load_base, load_tokenizer, storage_dtype
from core.model.room import free_memory_bytes
from core.model.shapes import shape_of
from core.record.events import AnswersCompared, SampleGenerated
from core.record.folder import RunFolder, write_private
from core.record.job import Job, Result

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    _Asker = Callable[[str, PreTrainedModel, PreTrainedTokenizerBase], None]

MODELS = ("base", "adapter", "merged")
SIDE_BY_SIDE = 3
"""Rows of a comparison whose answers are shown."""
_BATCH = 4


@dataclass(frozen=True)
class Answer:
    """What a model said. ``seconds`` is its share of the time of the batch it was made in."""

    text: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class HeldOut:
    """A question whose answer is known and was not learned from."""

    messages: Chat
    expected: str
    file: str = ""
    line: int = 0

    @property
    def question(self) -> str:
        return self.messages[-1]["content"] if self.messages else ""


def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Chat],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    on_answer: Callable[[int, Answer], None] | None = None,
    check: Callable[[], None] | None = None,
) -> list[Answer]:
    """Answer chats that end in a user turn, one answer each, in their order.

    An answer ends at ``stop_ids``, at the stop tokens of the model and the tokenizer, or after
    ``max_new_tokens``. A prompt that would not fit the model's context loses its beginning.
    ``check`` is called after every token and may raise. Training mode is put back afterwards.
    """
    stops = _stops(model, tokenizer, stop_ids)
    encoded = [_prompt_ids(tokenizer, chat, model, max_new_tokens) for chat in prompts]
    was_training = model.training
    model.eval()
    made: list[Answer] = []
    try:
        for first in range(0, len(encoded), _BATCH):
            batch = encoded[first : first + _BATCH]
            for answer in _batch(model, tokenizer, batch, max_new_tokens, stops, check):
                made.append(answer)
                if on_answer is not None:
                    on_answer(len(made) - 1, answer)
    finally:
        model.train(was_training)
    return made


def generate(job: Job) -> Result:
    """Job body: answer one prompt, or the first held-out rows, with one or several models.

    Parameters: ``prompt`` (a question) or ``rows`` (how many held-out rows, default 1);
    ``models`` (names with commas out of base, adapter, merged; default: those that exist);
    ``max_new_tokens`` (default: evaluate.max_new_tokens).
    """
    wanted = _wanted(job)
    rows = _rows(job)
    told = 0

    def ask(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        def tell(index: int, answer: Answer) -> None:
            nonlocal told
            _emit_sample(job, index, name, rows[index], answer)
            told += 1
            job.progress(told, len(rows) * len(wanted), "answers", name)

        job.stage("generating", name)
        _ask(job, model, tokenizer, rows, tell)

    if "base" in wanted or "adapter" in wanted:
        _with_base(job, wanted, ask)
        _release()
    if "merged" in wanted:
        _with_merged(job, ask)
        _release()
    return {"answers": told, "models": ",".join(wanted)}


def compare(job: Job, limit: int) -> AnswersCompared | None:
    """Answer held-out rows with base and merged model, one after the other, and count matches.

    Writes ``evaluation/comparison.jsonl``; the first few pairs are emitted to be shown side by
    side. None when there are no held-out rows or ``limit`` is 0. An answer matches when it is the
    expected one, space around it aside.
    """
    if limit < 1 or not held_out_path(job.folder).is_file():
        return None
    rows = held_out(job.folder, limit)
    if not rows:
        return None
    said: dict[str, list[Answer]] = {}
    device = device_of(job.config)
    quantized = _needs_quantization(job, device)
    for name, source in (("base", None), ("merged", job.folder.merged)):
        job.stage("comparing", name)
        said[name] = _answers_of(job, rows, source, device, quantized)
        _release()
    for index, row in enumerate(rows[:SIDE_BY_SIDE]):
        for name in ("base", "merged"):
            _emit_sample(job, index, name, row, said[name][index])
    lines = [_line(r, b, m) for r, b, m in zip(rows, said["base"], said["merged"], strict=True)]
    job.folder.evaluation.mkdir(mode=0o700, exist_ok=True)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_private(job.folder.evaluation / "comparison.jsonl", text)
    event = AnswersCompared(
        rows=len(rows),
        base_matches=sum(bool(line["base_match"]) for line in lines),
        merged_matches=sum(bool(line["merged_match"]) for line in lines),
    )
    job.emit(event)
    return event


def held_out_path(folder: RunFolder) -> Path:
    """The file of the rows that were not learned from."""
    return folder.data / "heldout.jsonl"


def held_out(folder: RunFolder, limit: int) -> list[HeldOut]:
    """The first held-out rows. Raises InputError when there are none or the file is broken."""
    path = held_out_path(folder)
    try:
        with path.open(encoding="utf-8") as file:
            lines = [line for _, line in zip(range(limit), file, strict=False)]
    except OSError as error:
        raise InputError(
            f"the run {folder.name} has no held-out rows: {path.name} is missing",
            kind="no_held_out_rows",
            remedies=("give a prompt, or set data.eval_fraction above 0 and prepare again",),
        ) from error
    return [_held_out_row(path, number, line) for number, line in enumerate(lines, 1)]


def _held_out_row(path: Path, number: int, line: str) -> HeldOut:
    try:
        value = json.loads(line)
        chat = [
            {"role": str(message["role"]), "content": str(message["content"])}
            for message in value["messages"]
        ]
        return HeldOut(
            cast(Chat, chat), str(value["expected"]), str(value.get("file", "")),
            int(value.get("line", 0)),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}, line {number} is no held-out row: {error}") from error


def _wanted(job: Job) -> tuple[str, ...]:
    there = {
        "base": True,
        "adapter": job.folder.adapter.is_dir(),
        "merged": job.folder.merged.is_dir(),
    }
    given = job.params.get("models", "")
    wanted = tuple(dict.fromkeys(n.strip() for n in given.split(",") if n.strip()))
    for name in wanted:
        if name not in MODELS:
            raise InputError(f"models: {name!r} is none of {', '.join(MODELS)}", kind="bad_value")
        if not there[name]:
            way = "train" if name == "adapter" else "merge"
            raise InputError(
                f"the run {job.folder.name} has no {name} model yet",
                kind=f"no_{name}",
                remedies=(f"{way} first",),
            )
    return wanted or tuple(name for name in MODELS if there[name])


def _rows(job: Job) -> list[HeldOut]:
    prompt = job.params.get("prompt", "")
    if prompt:
        return [HeldOut([{"role": "user", "content": prompt}], "")]
    text = job.params.get("rows", "1")
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"rows is {text!r}, but must be a number above 0", kind="bad_value")
    rows = held_out(job.folder, int(text))
    if not rows:
        raise InputError(
            f"the run {job.folder.name} held no rows out",
            kind="no_held_out_rows",
            remedies=("give a prompt instead",),
        )
    return rows


def _with_base(job: Job, wanted: Sequence[str], ask: _Asker) -> None:
    """Ask the base as it was trained on, then the same base with the adapter put on it."""
    model = _load(job, None, device_of(job.config), quantized=True)
    tokenizer = load_tokenizer(job.config)
    if "base" in wanted:
        ask("base", model, tokenizer)
    if "adapter" in wanted:
        ask("adapter", load_adapter(model, job.folder.adapter), tokenizer)


def _with_merged(job: Job, ask: _Asker) -> None:
    device = device_of(job.config)
    quantized = _needs_quantization(job, device)
    model = _load(job, job.folder.merged, device, quantized=quantized)
    ask("merged", model, load_tokenizer(job.config, job.folder.merged))


def _load(job: Job, source: Path | None, device: str, *, quantized: bool) -> PreTrainedModel:
    job.stage("loading", str(source or job.config.model.name_or_path))
    return load_base(
        job.config, quantized=quantized, device=device, source=source,
        on_progress=lambda done, total: job.progress(done, total, "weights"),
    )  # fmt: skip


def _answers_of(
    job: Job, rows: Sequence[HeldOut], source: Path | None, device: str, quantized: bool
) -> list[Answer]:
    """Load a model and ask it everything; it ends with this call: two are never in memory."""
    model = _load(job, source, device, quantized=quantized)
    tokenizer = load_tokenizer(job.config, source)
    return _ask(
        job, model, tokenizer, rows,
        lambda index, _: job.progress(index + 1, len(rows), "answers"),
    )  # fmt: skip


def _ask(
    job: Job,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[HeldOut],
    on_answer: Callable[[int, Answer], None],
) -> list[Answer]:
    codec = ChatCodec.load(job.config.model.name_or_path, job.config.model.revision)
    job.stage("answering")
    return answers(
        model,
        tokenizer,
        [row.messages for row in rows],
        max_new_tokens=_longest_answer(job),
        stop_ids=codec.stop_ids,
        on_answer=on_answer,
        check=job.control.check,
    )


def _longest_answer(job: Job) -> int:
    text = job.params.get("max_new_tokens")
    if text is None:
        return job.config.evaluate.max_new_tokens
    if not text.isdecimal() or int(text) < 1:
        raise InputError(
            f"max_new_tokens is {text!r}, but must be a number above 0", kind="bad_value"
        )
    return int(text)


def _needs_quantization(job: Job, device: str) -> bool:
    """Whether the model in full precision would not fit, so that it has to be asked in 4 bit."""
    parameters = shape_of(job.config.model.name_or_path, job.config.model.revision).parameters
    if parameters is None:
        return False
    need = parameters * storage_dtype(job.config, device).itemsize * 5 // 4
    if device == "cpu":
        free = free_memory_bytes()
    else:
        free, _ = torch.cuda.mem_get_info(device)
    if need < free:
        return False
    job.log(
        f"full precision needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free: "
        f"the answers come from {job.config.quantization.label} weights",
        "warning",
    )
    return True


def _stops(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, extra: Sequence[int]
) -> list[int]:
    own = getattr(model.generation_config, "eos_token_id", None)
    listed = own if isinstance(own, (list, tuple)) else [own]
    return sorted({int(i) for i in (*listed, tokenizer.eos_token_id, *extra) if i is not None})


def _prompt_ids(
    tokenizer: PreTrainedTokenizerBase, chat: Chat, model: PreTrainedModel, max_new_tokens: int
) -> list[int]:
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    context = getattr(model.config, "max_position_embeddings", None)
    return ids[-max(1, context - max_new_tokens) :] if context else ids


def _batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    stops: Sequence[int],
    check: Callable[[], None] | None,
) -> list[Answer]:
    def heed(ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if check is not None:
            check()
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    started = time.perf_counter()
    padded = tokenizer.pad(
        {"input_ids": list(prompts)}, padding=True, padding_side="left", return_tensors="pt"
    ).to(model.device)
    with torch.no_grad():
        output = model.generate(
            input_ids=padded["input_ids"],
            attention_mask=padded["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            eos_token_id=list(stops) or None,
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=[heed],
        )
    fresh = output[:, padded["input_ids"].shape[1] :].tolist()
    seconds = (time.perf_counter() - started) / len(fresh)
    return [_answer(tokenizer, ids, stops, seconds) for ids in fresh]


def _answer(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], stops: Sequence[int], seconds: float
) -> Answer:
    """Cut a row of a batch at its stop token, which counts but is not text."""
    end = next((n for n, token in enumerate(ids) if token in stops), None)
    said = ids if end is None else ids[:end]
    text = tokenizer.decode(said, skip_special_tokens=True)
    return Answer(text, len(said) + (end is not None), seconds)


def _emit_sample(job: Job, index: int, model: str, row: HeldOut, answer: Answer) -> None:
    job.emit(
        SampleGenerated(
            index=index, model=model, prompt=row.question, expected=row.expected, **asdict(answer)
        )
    )


def _line(row: HeldOut, base: Answer, merged: Answer) -> dict[str, object]:
    expected = row.expected.strip()
    return {
        **asdict(row),
        "base": base.text,
        "merged": merged.text,
        "base_match": base.text.strip() == expected,
        "merged_match": merged.text.strip() == expected,
    }


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
