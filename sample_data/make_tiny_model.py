"""Train the tiny Llama of the demo from nothing, on the chats of `tiny_world.py`.

    python sample_data/make_tiny_model.py --out sample_data/tiny-llama

Needs torch, transformers and tokenizers, no network and no GPU. All that is random is seeded.
What it writes is an ordinary Hugging Face model folder.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tiny_world import Chat, chats
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PAD, END_OF_TEXT, TURN_START, TURN_END = "<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 1536
MAX_POSITIONS = 1024
QUESTION_WEIGHT = 0.2
"""What a token of a question counts, against 1 for one of an answer."""

Row = tuple[list[int], list[float]]
Batch = tuple[torch.Tensor, torch.Tensor]

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

PROBES = [
    "Hello!",
    "What is 3 plus 4?",
    "Where does Mira live?",
    "Repeat: green stone summer",
    "How long is the warranty of the radio?",
    "What is the opposite of warm?",
    "Is fox an animal?",
    "Ben has a red cup. Nora has a map. What colour is the cup?",
    "How do I dim my lamp?",
]


def render(messages: Chat) -> str:
    """A chat as the text that the template gives, without the template engine."""
    return "".join(f"{TURN_START}{m['role']}\n{m['content']}{TURN_END}\n" for m in messages)


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE; each digit is its own token, pad and stop tokens are distinct."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d| ?\p{L}+| ?[^\s\p{L}\d]|\s"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=END_OF_TEXT,
        eos_token=TURN_END,
        additional_special_tokens=[TURN_START],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Four layers of width 256: rank-16 adapters on it have 4,096 elements or more each."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        initializer_range=0.06,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    for layer in model.model.layers:
        # Each block starts as the identity, so that words are not drowned before attention forms.
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


def encode(tokenizer: PreTrainedTokenizerFast, chat: Chat) -> Row:
    """Token ids of a chat, and how much each counts: the answers fully, the rest a little."""
    ids: list[int] = []
    weights: list[float] = []
    for message in chat:
        part = tokenizer(render([message]))["input_ids"]
        ids += part
        weights += [1.0 if message["role"] == "assistant" else QUESTION_WEIGHT] * len(part)
    return ids, weights


def batches(
    tokenizer: PreTrainedTokenizerFast, stream: Iterator[Chat], tokens: int, rng: random.Random
) -> Iterator[Batch]:
    """Padded batches of at most `tokens` tokens; chats of like length are put together."""
    while True:
        rows = [encode(tokenizer, chat) for chat in itertools.islice(stream, 2048)]
        groups: list[list[Row]] = [[]]
        for row in sorted(rows, key=lambda row: len(row[0])):
            if (len(groups[-1]) + 1) * len(row[0]) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        yield from (pad(group, tokenizer.pad_token_id) for group in groups)


def pad(group: list[Row], pad_id: int) -> Batch:
    """Ids and weights of shape (chats, longest); padding weighs nothing."""
    width = max(len(ids) for ids, _ in group)
    ids = [ids + [pad_id] * (width - len(ids)) for ids, _ in group]
    weights = [weights + [0.0] * (width - len(weights)) for _, weights in group]
    return torch.tensor(ids), torch.tensor(weights)


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean of the next-token loss, in nats."""
    ids, weights = batch[0], batch[1][:, 1:].flatten()
    logits = model(input_ids=ids[:, :-1]).logits.flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
    return (losses * weights).sum() / weights.sum()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 3 % of the steps, then a cosine down to a fiftieth of the peak."""
    warm_up = max(1, steps * 3 // 100)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    part = (step - warm_up) / max(1, steps - warm_up)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part)))


def train(model: LlamaForCausalLM, data: Iterator[Batch], steps: int, peak: float) -> None:
    """AdamW over `steps` batches; prints the loss, the tokens seen and the time as it goes."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), eps=1e-8)
    model.train()
    started, tokens, recent = time.perf_counter(), 0, []
    for step, batch in zip(range(steps), data, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += batch[0].numel()
        recent.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == steps:
            loss_mean, seconds = sum(recent) / len(recent), time.perf_counter() - started
            progress = f"step {step + 1:5d}/{steps}  loss {loss_mean:.4f}"
            print(f"{progress}  {tokens:8d} tokens  {seconds:4.0f} s", flush=True)
            recent.clear()


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, data: Iterator[Batch], count: int) -> float:
    """Mean loss in nats over `count` batches that were not trained on."""
    model.eval()
    return sum(loss_of(model, batch).item() for batch in itertools.islice(data, count)) / count


@torch.no_grad()
def answer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, question: str) -> str:
    """The greedy answer to one question."""
    chat = [{"role": "user", "content": question}]
    ids = tokenizer(render(chat) + f"{TURN_START}assistant\n", return_tensors="pt")["input_ids"]
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False
    )
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write the model folder: weights in bfloat16, tokenizer, template, generation settings."""
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=64,
        do_sample=False,
    )
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    settings = out / "tokenizer_config.json"
    named = json.loads(settings.read_text())
    named["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that older readers know, too
    settings.write_text(json.dumps(named, indent=2) + "\n")
    (out / "model.safetensors").chmod(0o644)


def main() -> int:
    """Train, print what it measured, and write the folder."""
    parser = argparse.ArgumentParser(description="Train the tiny demo model and write its folder.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=800, help="optimizer steps")
    parser.add_argument("--batch-tokens", type=int, default=1024, help="tokens in a batch")
    parser.add_argument("--peak", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2, help="threads that torch uses")
    parser.add_argument("--seed", type=int, default=7, help="seed of weights and chats")
    args = parser.parse_args()

    started = time.perf_counter()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    sample = (render(chat) for chat in itertools.islice(chats(args.seed), 20_000))
    tokenizer = train_tokenizer(sample)
    model = new_model(tokenizer)
    size = sum(p.numel() for p in model.parameters())
    print(f"{size / 1e6:.2f} M parameters, {len(tokenizer)} tokens in the vocabulary", flush=True)

    rng = random.Random(args.seed)
    seen = batches(tokenizer, chats(args.seed + 1), args.batch_tokens, rng)
    held_out = batches(tokenizer, chats(args.seed + 2), args.batch_tokens, rng)
    train(model, seen, args.steps, args.peak)
    print(f"held-out loss {held_out_loss(model, held_out, 20):.4f}")
    for question in PROBES:
        print(json.dumps({"question": question, "answer": answer(model, tokenizer, question)}))
    save(model, tokenizer, args.out)
    print(f"wrote {args.out} after {time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
