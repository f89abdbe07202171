"""Which tokens carry loss, for templates of every style."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chat_templates import (
    CHATML,
    COUNTED,
    GEMMA,
    LLAMA3,
    OPENINGS,
    PLAIN_STOP,
    STOPS,
    THINKING,
    UNMARKED,
    ModelMaker,
)

from core.config.errors import InputError
from core.data.chats.formats import Chat, Defect
from core.data.tokens.codec import NO_LOSS, ChatCodec, Encoded, pad_token


def chat(*contents: str, system: str | None = None) -> Chat:
    turns: Chat = [
        {"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(contents)
    ]
    return [{"role": "system", "content": system}, *turns] if system else turns


TALK = chat("What is the capital of France?", "The capital is Paris.", "Thanks!", "Any time 👋.")


def encoded(codec: ChatCodec, talk: Chat, max_length: int | None = None) -> Encoded:
    result = codec.encode(talk, max_length)
    assert isinstance(result, Encoded), result
    return result


def learned(codec: ChatCodec, result: Encoded) -> list[str]:
    """The text of each run of tokens that carry loss."""
    runs: list[list[int]] = []
    for number, label in enumerate(result.labels):
        if label == NO_LOSS:
            continue
        assert label == result.ids[number]
        if number and result.labels[number - 1] != NO_LOSS:
            runs[-1].append(label)
        else:
            runs.append([label])
    return [codec.tokenizer.decode(run, skip_special_tokens=False) for run in runs]


@pytest.mark.parametrize("tokenizer", ["bytes", "metaspace"])
@pytest.mark.parametrize("style", STOPS)
def test_exactly_the_answers_and_their_stop_tokens_carry_loss(
    style: str, tokenizer: str, make_model: ModelMaker
) -> None:
    template, stop = STOPS[style]
    codec = ChatCodec.load(str(make_model(template, tokenizer)))
    result = encoded(codec, TALK)
    shown = codec.tokenizer.decode([codec.stop_ids[0]], skip_special_tokens=False)
    runs = [run.replace(" " + shown, stop).replace(shown, stop).strip()
            for run in learned(codec, result)]  # fmt: skip
    opening = OPENINGS.get(style, "")
    assert runs == [f"The capital is Paris.{stop}", f"{opening}Any time 👋.{stop}"]
    assert ("template_text_trained" in result.notes) is bool(opening)
    assert result.stop_trained
    assert not result.truncated
    assert result.labels[0] == NO_LOSS
    assert codec.tokenizer.id_to_token(codec.stop_ids[0]) == stop


@pytest.mark.parametrize("tokenizer", ["bytes", "metaspace"])
@pytest.mark.parametrize("style", STOPS)
def test_pieces_are_the_whole_text(style: str, tokenizer: str, make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(STOPS[style][0], tokenizer)))
    result = encoded(codec, TALK)
    assert "".join(result.pieces) == result.text == codec.render(TALK)
    assert len(result.pieces) == len(result.ids) == len(result.labels)


def test_a_template_that_rewrites_earlier_answers_trains_the_last_one(
    make_model: ModelMaker,
) -> None:
    codec = ChatCodec.load(str(make_model(THINKING)))
    talk = chat("One?", "<think>\nhm\n</think>\n\nOne.", "Two?", "<think>\nso\n</think>\n\nTwo.")
    result = encoded(codec, talk)
    assert learned(codec, result) == ["<think>\nso\n</think>\n\nTwo.<|im_end|>"]
    assert result.notes == ("reasoning_dropped",)
    assert result.details["reasoning_dropped"].endswith('reasoning of turn 2: "hm"')


def test_marks_of_the_template_are_used_where_prefixes_do_not_hold(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(COUNTED)))
    result = encoded(codec, TALK)
    assert learned(codec, result) == ["The capital is Paris.</s>", "Any time 👋.</s>"]
    assert result.notes == ("marks",)
    assert result.stop_trained


@pytest.mark.parametrize("mark", [("", "<|im_end|>"), ("<|im_end|>", ""), ("<|im_end|>\\n", "")])
def test_a_stop_token_in_or_behind_the_marks_is_seen(
    make_model: ModelMaker, mark: tuple[str, str]
) -> None:
    inside, behind = (f" + '{text}'" if text else "" for text in mark)
    template = COUNTED.replace(" + eos_token", inside).replace(
        "{% endgeneration %}", "{% endgeneration %}" + (f"{{{{ ''{behind} }}}}" if behind else "")
    )
    codec = ChatCodec.load(str(make_model(template)))
    result = encoded(codec, TALK)
    assert learned(codec, result) == ["The capital is Paris.<|im_end|>", "Any time 👋.<|im_end|>"]
    assert result.stop_trained
    assert codec.stop_ids[0] == codec.token_id("<|im_end|>")


def test_marks_without_a_stop_token_teach_none(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(COUNTED.replace(" + eos_token", ""))))
    result = encoded(codec, TALK)
    assert not result.stop_trained
    assert codec.stop_ids == (codec.eos_id,)


def test_a_template_that_cannot_be_masked_is_refused(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(UNMARKED)))
    result = codec.encode(TALK)
    assert isinstance(result, Defect)
    assert result.reason == "template_cannot_be_masked"


def test_a_template_without_a_stop_token_trains_its_own_ending(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(PLAIN_STOP)))
    result = encoded(codec, TALK)
    assert learned(codec, result) == ["The capital is Paris.\n--", "Any time 👋.\n--"]
    assert not result.stop_trained


def test_a_refusal_of_the_template_is_told_in_its_words(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(GEMMA)))
    result = codec.encode(chat("a", "b", system="be brief"))
    assert result == Defect("template_refused", "the chat template says: System role not supported")


def test_a_model_without_template_gets_the_plain_one(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(None)))
    assert "finetui" in codec.template.origin
    result = encoded(codec, chat("Name a colour.", "Red.", system="Be brief."))
    assert result.text == (
        "<s>Be brief.\n\n### Instruction:\nName a colour.\n\n### Response:\nRed.</s>\n\n"
    )
    assert learned(codec, result) == ["Red.</s>"]


def test_a_cut_row_keeps_its_beginning_and_does_not_learn_to_stop(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    whole = encoded(codec, TALK)
    cut = encoded(codec, TALK, max_length=len(whole.ids) - 3)
    assert cut.ids == whole.ids[:-3]
    assert cut.truncated
    assert not cut.stop_trained
    assert cut.full_length == len(whole.ids)
    nothing = codec.encode(TALK, max_length=4)
    assert isinstance(nothing, Defect)
    assert nothing.reason == "answer_cut_off"


def test_names_of_special_tokens_in_a_content_are_noted(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    result = encoded(codec, chat("What is <|im_end|>?", "A <|im_end|> mark."))
    assert result.notes == ("special_token_in_text",)
    assert learned(codec, result) == ["A <|im_end|> mark.<|im_end|>"]


def test_several_chats_at_once_give_the_same(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(LLAMA3)))
    talks = [TALK, chat("a", "b"), chat("long " * 40, "answer " * 30)]
    assert codec.encode_many(talks) == [codec.encode(talk) for talk in talks]


def test_pad_differs_from_the_stop_token_where_it_can(make_model: ModelMaker) -> None:
    own = ChatCodec.load(str(make_model(CHATML)))
    assert pad_token(own)[1:] == ("<pad>", "the tokenizer's own")
    same = ChatCodec.load(str(make_model(CHATML, pad_token="</s>")))
    token_id, name, _ = pad_token(same)
    assert name == "<pad>"
    assert token_id not in same.stop_ids


def test_tokens_of_the_configuration_are_added(make_model: ModelMaker) -> None:
    folder = make_model(CHATML.replace("<|im_end|>", "<|done|>"), eos_token="<|done|>")
    codec = ChatCodec.load(str(folder))
    result = encoded(codec, TALK)
    assert codec.eos_id == codec.token_id("<|done|>") == result.ids[-2]
    assert result.stop_trained


def test_a_list_of_templates_means_the_default_one(make_model: ModelMaker) -> None:
    several = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": CHATML}]
    codec = ChatCodec.load(str(make_model(None, chat_template=several)))
    assert codec.template.source == CHATML


def test_missing_and_broken_files_are_named(make_model: ModelMaker, tmp_path: Path) -> None:
    folder = make_model(CHATML)
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer\.json is broken"):
        ChatCodec.load(str(folder))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        ChatCodec.load(str(folder))
    with pytest.raises(InputError, match="line 1"):
        ChatCodec.load(str(make_model("{% if %}")))


def test_no_torch_is_loaded(make_model: ModelMaker) -> None:
    script = (
        "import sys, json\n"
        "from core.data.tokens.codec import ChatCodec\n"
        "import core.data.inspect, core.data.read.index, core.data.tokens.frozen\n"
        "codec = ChatCodec.load(sys.argv[1])\n"
        "codec.encode([{'role': 'user', 'content': 'a'}, {'role': 'assistant', 'content': 'b'}])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'trl', 'peft'} & set(sys.modules)\n"
        "print(json.dumps(sorted(heavy)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(make_model(CHATML))],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("tokenizer", ["bytes", "metaspace"])
def test_ids_are_those_of_transformers(make_model: ModelMaker, tokenizer: str) -> None:
    from transformers import AutoTokenizer

    talks = [TALK, chat(" spaces  around ", " yes\n"), chat("<|im_end|>", "x </s> y", "ß€", "\t")]
    for template, _ in STOPS.values():
        folder = str(make_model(template, tokenizer))
        codec, theirs = ChatCodec.load(folder), AutoTokenizer.from_pretrained(folder)
        for talk in talks:
            ids = theirs.apply_chat_template(talk, tokenize=True, return_dict=False)
            assert codec.render(talk) == theirs.apply_chat_template(talk, tokenize=False)
            assert codec.tokenizer.encode(codec.render(talk), add_special_tokens=False).ids == ids
