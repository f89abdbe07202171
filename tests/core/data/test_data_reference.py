"""transformers' tokenizer in a process without torch: the same ids, the same errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chat_templates import CHATML, ZEPHYR, ModelMaker

from core.config.errors import FailedError
from core.config.schema import RunConfig
from core.data.chats.chat import Chat
from core.data.proof import prove
from core.data.reference import Question, Reference
from core.data.tokens.codec import ChatCodec

TOOL = {"type": "function", "function": {"name": "weather", "description": "of a town"}}
ASKED: list[dict[str, Any]] = [
    {"role": "user", "content": "Say <|im_end|>\n</s>"},
    {"role": "assistant", "content": " two  spaces ß👋 "},
]
QUESTIONS = [Question(ASKED), Question(ASKED, [TOOL]), Question(None, text="a </s> b<|im_end|>")]


@pytest.mark.parametrize("literal", [False, True])
def test_the_process_says_what_transformers_says_here(
    literal: bool, make_model: ModelMaker
) -> None:
    reference = Reference(str(make_model(CHATML)), None, "", literal)
    here = list(reference.answers(QUESTIONS, apart=False))
    assert list(reference.answers(QUESTIONS, apart=True)) == here
    assert all(here)
    other = Reference(reference.name, None, "", not literal)
    assert list(other.answers(QUESTIONS, apart=True)) != here


def test_a_model_without_a_template_gets_ours(make_model: ModelMaker) -> None:
    template = "{% for message in messages %}[{{ message.content }}]{% endfor %}"
    reference = Reference(str(make_model(None)), None, template, literal=False)
    (ids,) = reference.answers(QUESTIONS[:1], apart=True)
    assert list(reference.answers(QUESTIONS[:1], apart=False)) == [ids]


def test_a_difference_found_there_ends_the_proof(make_model: ModelMaker) -> None:
    chat: Chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    config = RunConfig.model_validate({"model": {"name_or_path": str(make_model(CHATML))}})
    prove(ChatCodec.of(config), config, [chat], apart=True)
    other = ChatCodec.load(str(make_model(ZEPHYR)))
    with pytest.raises(FailedError, match="differ from transformers' at token 0") as caught:
        prove(other, config, [chat], apart=True)
    assert caught.value.kind == "tokenizer_mismatch"


@pytest.mark.parametrize("apart", [False, True])
def test_a_tokenizer_that_transformers_cannot_read_is_told(apart: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    reference = Reference(str(tmp_path), None, "", literal=False)
    with pytest.raises(FailedError, match="cannot read the tokenizer of") as caught:
        list(reference.answers(QUESTIONS, apart=apart))
    assert caught.value.kind == "no_tokenizer"
    assert caught.value.remedies


def test_no_process_of_a_preparation_loads_torch(make_model: ModelMaker) -> None:
    """What the caller and the process behind it have loaded, seen from outside."""
    code = (
        "import sys, psutil\n"
        "from core.data.reference import Question, Reference\n"
        "def asked():\n"
        "    yield Question(None, text='one')\n"
        "    children = psutil.Process().children()\n"
        "    child, = [p for p in children if 'spawn_main' in str(p.cmdline())]\n"
        "    maps = ' '.join(m.path for m in child.memory_maps())\n"
        "    print('tokenizers' in maps, 'libtorch' in maps, 'torch' in sys.modules,\n"
        "          'transformers' in sys.modules, flush=True)\n"
        "    yield Question(None, text='two')\n"
        "print(len(list(Reference(sys.argv[1], None, '', False).answers(asked()))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(make_model(CHATML))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "False", "False", "False", "2"], done.stderr
