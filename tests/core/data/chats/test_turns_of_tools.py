"""Calls and thoughts are learned, tools' results are not; what a template leaves out is said."""

from __future__ import annotations

import pytest
from chat_templates import CHATML, DEEPSEEK, LLAMA2, LLAMA31, QWEN3, QWEN25, THINKING, ModelMaker

from core.data.chats.chat import Chat, Defect
from core.data.tokens.codec import NO_LOSS, ChatCodec, Encoded

TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather of a town"}}
CALL = {
    "type": "function",
    "function": {"name": "weather", "arguments": '{"town": "Paris"}'},
}
AGENT: Chat = [
    {"role": "user", "content": "Is it warm in Paris?", "tools": [TOOL]},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "21 degrees", "name": "weather"},
    {"role": "assistant", "content": "Yes, 21 degrees."},
]


def runs(codec: ChatCodec, chat: Chat) -> list[str]:
    """The text of each run of tokens that carry loss."""
    result = codec.encode(chat)
    assert isinstance(result, Encoded), result
    found: list[str] = []
    for number, label in enumerate(result.labels):
        if label == NO_LOSS:
            continue
        if not number or result.labels[number - 1] == NO_LOSS:
            found.append("")
        found[-1] += result.pieces[number]
    assert result.stop_trained
    return found


QWEN_CALL = '<tool_call>\n{"name": "weather", "arguments": {"town": "Paris"}}\n</tool_call>'
LLAMA_CALL = '{"name": "weather", "parameters": {"town": "Paris"}}'


@pytest.mark.parametrize(
    ("template", "call", "answer"),
    [
        (QWEN25, f"{QWEN_CALL}<|im_end|>", "Yes, 21 degrees.<|im_end|>"),
        (
            QWEN3,
            f"{QWEN_CALL}<|im_end|>",
            "<think>\n\n</think>\n\nYes, 21 degrees.<|im_end|>",
        ),
        (LLAMA31, f"{LLAMA_CALL}<|eot_id|>", "Yes, 21 degrees.<|eot_id|>"),
    ],
    ids=["qwen2.5", "qwen3", "llama3.1"],
)
def test_calls_are_learned_and_results_are_not(
    template: str, call: str, answer: str, make_model: ModelMaker
) -> None:
    codec = ChatCodec.load(str(make_model(template)))
    assert [run.strip() for run in runs(codec, AGENT)] == [call, answer]
    text = codec.render(AGENT)
    assert "Weather of a town" in text
    assert "21 degrees" in text


def test_two_results_of_two_calls_are_not_learned(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(QWEN25)))
    twice: Chat = [
        AGENT[0],
        {"role": "assistant", "content": "I look.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "21 degrees"},
        {"role": "tool", "content": "22 degrees"},
        AGENT[3],
        {"role": "user", "content": "Thanks"},
        {"role": "assistant", "content": "Any time."},
    ]
    learned = [run.strip() for run in runs(codec, twice)]
    assert learned == [
        f"I look.\n{QWEN_CALL}\n{QWEN_CALL}<|im_end|>",
        "Yes, 21 degrees.<|im_end|>",
        "Any time.<|im_end|>",
    ]


@pytest.mark.parametrize(
    ("template", "left_out"),
    [(CHATML, "the definitions of the tools"), (LLAMA2, "the definitions of the tools")],
)
def test_a_template_that_ignores_tools_rejects_the_row(
    template: str, left_out: str, make_model: ModelMaker
) -> None:
    codec = ChatCodec.load(str(make_model(template)))
    result = codec.encode(AGENT)
    assert isinstance(result, Defect)
    assert result.reason == "template_ignores_tools"
    assert left_out in result.detail


def test_a_template_that_ignores_calls_or_results_rejects_the_row(make_model: ModelMaker) -> None:
    bare: Chat = [{"role": "user", "content": "Is it warm?"}, *AGENT[1:]]
    result = ChatCodec.load(str(make_model(CHATML))).encode(bare)
    assert isinstance(result, Defect)
    assert 'a tool call of turn 2: "weather"' in result.detail
    results_only = CHATML.replace(
        "{%- for m in messages %}", "{%- for m in messages if m.role != 'tool' %}"
    )
    spoken: Chat = [bare[0], {"role": "assistant", "content": "I look."}, *AGENT[2:]]
    result = ChatCodec.load(str(make_model(results_only))).encode(spoken)
    assert isinstance(result, Defect)
    assert 'the tool\'s result in turn 3: "21 degrees"' in result.detail


def test_a_model_with_a_template_for_tools_uses_it_for_them(make_model: ModelMaker) -> None:
    both = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": QWEN25}]
    codec = ChatCodec.load(str(make_model(None, chat_template=both)))
    assert "Weather of a town" in codec.render(AGENT)
    assert "You are Qwen" not in codec.render([AGENT[2], AGENT[3]])


THOUGHT: Chat = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "1.", "reasoning_content": "it is one"},
    {"role": "user", "content": "Two?"},
    {"role": "assistant", "content": "2.", "reasoning_content": "it is two"},
]
INLINE: Chat = [
    {"role": m["role"], "content": f"<think>\n{m['reasoning_content']}\n</think>\n\n{m['content']}"}
    if "reasoning_content" in m
    else m
    for m in THOUGHT
]


@pytest.mark.parametrize("chat", [THOUGHT, INLINE], ids=["field", "inline"])
def test_a_thought_is_learned_where_the_template_shows_it(
    chat: Chat, make_model: ModelMaker
) -> None:
    codec = ChatCodec.load(str(make_model(QWEN3)))
    assert runs(codec, chat) == ["<think>\nit is two\n</think>\n\n2.<|im_end|>\n".rstrip("\n")]
    result = codec.encode(chat)
    assert isinstance(result, Encoded)
    assert result.notes == ("reasoning_dropped",)
    assert result.details["reasoning_dropped"].endswith('of turn 2: "it is one"')


def test_thoughts_between_calls_are_learned(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(QWEN3)))
    chat: Chat = [
        AGENT[0],
        {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "look up"},
        AGENT[2],
        {"role": "assistant", "content": "Yes.", "reasoning_content": "21 is warm"},
    ]
    first, second = runs(codec, chat)
    assert first.startswith("<think>\nlook up\n</think>\n\n")
    assert second == "<think>\n21 is warm\n</think>\n\nYes.<|im_end|>"


def test_a_template_that_drops_every_thought_trains_the_answers(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(DEEPSEEK)))
    result = codec.encode(INLINE[:2])
    assert isinstance(result, Encoded)
    assert set(result.notes) == {"reasoning_dropped"}
    assert runs(codec, INLINE[:2]) == ["\n\n1.<｜end▁of▁sentence｜>"]
    plain: Chat = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1."}]
    told = codec.encode(plain)
    assert isinstance(told, Encoded)
    assert told.notes == ("prompt_differs",)
    assert '"<think>\\n"' in told.details["prompt_differs"]


def test_thinking_rows_of_a_plain_template_are_learned_whole(make_model: ModelMaker) -> None:
    codec = ChatCodec.load(str(make_model(CHATML)))
    assert len(runs(codec, INLINE)) == 2
    kept = ChatCodec.load(str(make_model(THINKING)))
    assert len(runs(kept, INLINE)) == 1
