"""The process in which chat templates run: a program of its own, started by its path.

Templates are foreign code. Here they run in Jinja's immutable sandbox, in a process that has
limits on processor time, memory and output, and that cannot open a file or a socket: what a
template breaks out of is still a locked room. Only jinja2 and the standard library are
imported; nothing of finetui is.

A request is a marshalled tuple, a reply is plain lengths and text: nothing that comes back is
ever executed or unpickled.
"""

from __future__ import annotations

import json
import marshal
import os
import resource
import select
import signal
import struct
import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

CPU_SECONDS = 1.0
"""Processor time that one rendering, or the compiling of one template, may take."""

MEMORY_BYTES = 512 << 20
"""Address space of the process."""

OUTPUT_LIMIT = 64 << 20
"""Characters that one rendering may have."""

OPEN, CLOSE = "\U000f0011", "\U000f0012"
"""Stand around what a template marks as generated, where that was asked for."""

OK, FAULT = 0, 1
_PARENT_CHECK_SECONDS = 5.0


def main(library: str) -> None:
    """Serve requests from standard input until it ends. ``library`` is where jinja2 is."""
    if library not in sys.path:
        sys.path.append(library)
    environment = _environment()
    _warm(environment)
    _lock_down()
    templates: dict[int, tuple[Any, dict[str, str]]] = {}
    parent = os.getppid()
    while (request := _read(sys.stdin.buffer, parent)) is not None:
        kind, number, body = request
        if kind == "compile":
            source, variables = body
            answer = [_compile(environment, templates, number, source, variables)]
        else:
            answer = [_render(*templates[number], blob) for blob in body]
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(sys.stdout.buffer, answer)


def _warm(environment: Any) -> None:
    """Have everything imported that a template may need, while files can be opened."""
    import pprint  # noqa: F401 - the filters of these names
    import textwrap  # noqa: F401

    time.localtime()
    time.strftime("%d %b %Y")
    environment.from_string(r"{{ 'a\n' | trim | title }}{{ [1] | tojson }}").render()
    with suppress(ZeroDivisionError):  # jinja2 then knows how to tell of a fault
        environment.from_string("{{ 1 // b }}").render(b=0)


def _lock_down() -> None:
    """Give up what a template never needs. What is open stays open."""
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_NOFILE: 3,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    # The kernel ends the process when the time is up, also in the midst of one long operation.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


def _compile(
    environment: Any,
    templates: dict[int, Any],
    number: int,
    source: str,
    variables: dict[str, str],
) -> tuple[int, str]:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        templates[number] = environment.from_string(source), variables
    except Exception as error:  # foreign code: whatever it raises is told, nothing is passed on
        line = getattr(error, "lineno", None)
        where = f"line {line}: " if line else ""
        return FAULT, where + (getattr(error, "message", None) or _words(error))
    return OK, ""


def _render(
    template: Any,
    variables: dict[str, str],
    blob: bytes,
) -> tuple[int, str]:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        messages, tools, add_generation_prompt, marks = marshal.loads(blob)  # noqa: S302
        pieces, size = [], 0
        for piece in template.generate(
            messages=messages,
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            _finetui_marks=marks,
            **variables,
        ):
            size += len(piece)
            if size > OUTPUT_LIMIT:
                return FAULT, "the template prints without end"
            pieces.append(piece)
        return OK, "".join(pieces)
    except Exception as error:  # foreign code: whatever it raises is told, nothing is passed on
        return FAULT, _words(error)


def _words(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"the template needs more than {MEMORY_BYTES >> 20} MB of memory"
    if type(error).__module__.startswith("jinja2"):
        return (str(error) or type(error).__name__)[:2000]
    return f"the template failed: {type(error).__name__}: {error}"[:2000]


def _read(stream: BinaryIO, parent: int) -> tuple[str, int, Any] | None:
    """The next request; None when the program on the other side is gone."""
    while not select.select([stream], [], [], _PARENT_CHECK_SECONDS)[0]:
        # Another child of that program may hold the pipe open; its own end shows here.
        if os.getppid() != parent:
            return None
    head = stream.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    request: tuple[str, int, Any] = marshal.loads(stream.read(size))  # noqa: S302 - from our own
    return request


def _write(stream: BinaryIO, answers: list[tuple[int, str]]) -> None:
    texts = [text.encode("utf-8", "surrogatepass") for _, text in answers]
    sizes = b"".join(
        struct.pack("<BQ", status, len(text))
        for (status, _), text in zip(answers, texts, strict=True)
    )
    stream.write(sizes)
    stream.writelines(texts)
    stream.flush()


def _environment() -> Any:
    """The dialect of chat templates, as transformers defines it."""
    import jinja2.debug  # is otherwise imported at the first fault, when no file can be opened
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox

    class GenerationTag(jinja2.ext.Extension):
        """``{% generation %}``: prints its body, between marks when those are asked for."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("_print", [jinja2.nodes.ContextReference()])
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _print(self, context: Any, caller: Any) -> str:
            text = str(caller())
            return f"{OPEN}{text}{CLOSE}" if context.get("_finetui_marks") else text

    class Namespace(jinja2.utils.Namespace):
        """A template's variables; names with a leading underscore stay out of reach."""

        def __init__(*args: Any, **kwargs: Any):
            self, *rest = args  # so that a template may call a variable self
            attributes = dict(*rest, **kwargs)
            for name in attributes:
                public(name)
            jinja2.utils.Namespace.__init__(self, attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            public(name)
            super().__setitem__(name, value)

    def public(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"the name {name!r} is not open to templates")

    def raise_exception(message: str) -> str:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[GenerationTag, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=raise_exception,
        strftime_now=lambda format: datetime.now().strftime(format),  # noqa: A006
        dict=_Dict(),
        namespace=Namespace,
    )
    return environment


class _Dict:
    """``dict(...)`` in a template, without the type behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML, which no model expects."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


if __name__ == "__main__":
    main(sys.argv[1])
