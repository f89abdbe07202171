"""Hostile and broken templates end quickly, with a clear word, and harm nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from chat_templates import CHATML, ModelMaker

from core.config.errors import InputError
from core.data.chats.chat import Chat, Defect
from core.data.tokens.codec import ChatCodec, Encoded
from core.data.tokens.renderer import RENDERER, Renderer, RenderJob, TemplateFault
from core.data.tokens.template import ChatTemplate

CHAT: Chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
ROWS = "{% for a in range(99999) %}"
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].system('id') }}",
    "{{ self._TemplateReference__context }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['__builtins__']['open']('/etc/passwd').read() }}",
    "{% set x = namespace(__class__='y') %}{{ x.__class__ }}",
    "{{ messages.append({'role': 'user', 'content': 'more'}) }}",
    "{{ ['__class__']|map('attr', messages)|list }}{{ ''|map(attribute='__class__')|list }}",
]
COSTLY = [
    ROWS * 3 + "{% endfor %}" * 3,
    "{{ 'A' * 10**9 }}",
    "{{ messages[0].content * 10**9 }}",
    "{{ (messages | length) ** 10**9 | string | length }}{% set n = 9 ** (9 ** 9) %}{{ n }}",
    "{{ '%1000000000d' % 1 }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ROWS + "{{ 'A' * 100000 }}{% endfor %}",
    "{% set n = namespace(v='a') %}" + ROWS + "{% set n.v = n.v + n.v %}{% endfor %}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    begin = time.monotonic()
    try:
        text = ChatTemplate(source, {}, "a test").render(CHAT)
    except (TemplateFault, InputError) as error:
        text = str(error)
    assert time.monotonic() - begin < 5
    for leak in ("<class", "uid=", "root:", "<module", "<function"):
        assert leak not in text


@pytest.mark.parametrize("source", COSTLY, ids=range(len(COSTLY)))
def test_a_costly_template_ends_in_seconds_with_a_clear_word(source: str) -> None:
    begin = time.monotonic()
    with pytest.raises((TemplateFault, InputError)) as caught:
        ChatTemplate(source, {}, "a test").render(CHAT)
    assert time.monotonic() - begin < 5
    words = ("processor time", "of memory", "without end", "RecursionError", "limit", "too large")
    assert any(word in str(caught.value) for word in words), caught.value


def test_a_template_that_is_stopped_again_and_again_is_an_input_error(
    make_model: ModelMaker,
) -> None:
    codec = ChatCodec.load(str(make_model(COSTLY[0])))
    begin = spent()
    with pytest.raises(InputError, match="stopped 2 times: it takes more than 1 s"):
        codec.encode_many([CHAT] * 20)
    assert spent() - begin < 5
    assert ChatTemplate(CHATML, {}, "a test").render(CHAT).startswith("<|im_start|>user\nhi")


def test_one_row_that_is_too_much_does_not_take_the_others_along(make_model: ModelMaker) -> None:
    endless = "{% if 'loop' in messages[0].content %}" + COSTLY[0] + "{% endif %}" + CHATML
    codec = ChatCodec.load(str(make_model(endless)))
    bad: Chat = [{"role": "user", "content": "loop"}, CHAT[1]]
    results = codec.encode_many([CHAT, bad, CHAT])
    assert isinstance(results[0], Encoded)
    assert isinstance(results[2], Encoded)
    assert results[1] == Defect(
        "template_refused", "the chat template says: it takes more than 1 s of processor time"
    )


def test_the_process_has_no_files_no_secrets_and_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    renderer = Renderer()
    number = renderer.compile("{{ messages[0].content }}", {})
    assert renderer.render(number, [RenderJob([{"role": "user", "content": "a\ud800"}])]) == [
        "a\ud800"
    ]
    process = _process(renderer)
    assert set(process.environ()) <= {"LD_LIBRARY_PATH", "TZ", "LC_CTYPE"}
    limits = process.rlimit(psutil.RLIMIT_NOFILE), process.rlimit(psutil.RLIMIT_FSIZE)
    assert limits == ((3, 3), (0, 0))
    assert process.memory_info().rss < 64 << 20
    assert os.getsid(process.pid) != os.getsid(0)
    renderer.close()
    assert not process.is_running()


def test_it_starts_again_after_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    template = ChatTemplate(CHATML, {}, "a test")
    first = template.render(CHAT)
    process = _process(RENDERER)
    process.send_signal(signal.SIGKILL)
    process.wait(5)
    assert template.render(CHAT) == first


def test_it_ends_with_the_program(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "from core.data.tokens.renderer import RENDERER\n"
        "RENDERER.compile('x', {})\n"
        "print(RENDERER._process.pid, flush=True)\n"
        "os._exit(9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[4],
    )  # fmt: skip
    pid = int(done.stdout)
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def spent() -> float:
    """Processor time of all processes that ended; a busy machine does not add to it."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _process(renderer: Renderer) -> psutil.Process:
    assert renderer._process is not None
    return psutil.Process(renderer._process.pid)
