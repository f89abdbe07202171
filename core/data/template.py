"""Chat templates: the Jinja text that comes with a model, rendered as transformers does.

Templates are foreign code. They run in Jinja's immutable sandbox, see plain text only, and can
store nothing under a name that begins with an underscore.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.runtime
import jinja2.sandbox
import jinja2.utils

from core.config.errors import InputError
from core.data.formats import Chat

FALLBACK = """\
{%- if bos_token and bos_token != eos_token %}{{ bos_token }}{% endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '### Response:\\n' + message.content + (eos_token or '') + '\\n\\n' }}
    {%- elif message.role == 'user' %}
        {{- '### Instruction:\\n' + message.content + '\\n\\n' }}
    {%- else %}
        {{- message.content + '\\n\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}
"""
"""Our own plain template, for models that come without one."""

OUTPUT_LIMIT = 64 << 20
"""Characters that one rendering may have."""

_OPEN, _CLOSE = "\U000f0011", "\U000f0012"
_MARK = re.compile(f"[{_OPEN}{_CLOSE}]")


class TemplateFault(Exception):  # noqa: N818 - the template's, not the program's
    """The template refused a chat (as some refuse system turns), or failed on it."""


@dataclass(frozen=True)
class Marked:
    """A rendering, and the spans of it that the template itself marks as generated."""

    text: str
    spans: tuple[tuple[int, int], ...]


class ChatTemplate:
    """One compiled template. ``variables`` are the special tokens that it may print."""

    def __init__(self, source: str, variables: Mapping[str, str], origin: str):
        """Compile ``source``. Raises InputError when it is not valid Jinja."""
        self.source = source
        self.origin = origin
        """Where the template comes from, in words."""
        self._variables = dict(variables)
        try:
            self._compiled = _environment().from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise InputError(
                f"the chat template ({origin}) is not valid: line {error.lineno}: {error.message}",
                kind="bad_template",
                remedies=("repair the model's chat_template.jinja",),
            ) from error

    @cached_property
    def has_marks(self) -> bool:
        """Whether the template marks what the model generates."""
        return re.search(r"\{%-?\s*generation\s*-?%\}", self.source) is not None

    def render(self, chat: Chat, *, add_generation_prompt: bool = False) -> str:
        """The chat as the model sees it. Raises TemplateFault."""
        return self._render(chat, add_generation_prompt, marks=False)

    def render_marked(self, chat: Chat) -> Marked:
        """The chat with the template's own marks taken out and told as spans."""
        text = self._render(chat, False, marks=True)
        parts, spans, start, length = _MARK.split(text), [], 0, 0
        for mark, part in zip(["", *_MARK.findall(text)], parts, strict=True):
            if mark == _OPEN:
                start = length
            elif mark == _CLOSE:
                spans.append((start, length))
            length += len(part)
        return Marked("".join(parts), tuple(spans))

    def _render(self, chat: Chat, add_generation_prompt: bool, *, marks: bool) -> str:
        try:
            pieces, size = [], 0
            for piece in self._compiled.generate(
                messages=[dict(message) for message in chat],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                _finetui_marks=marks,
                **self._variables,
            ):
                size += len(piece)
                if size > OUTPUT_LIMIT:
                    raise TemplateFault("the template prints without end")
                pieces.append(piece)
        except jinja2.TemplateError as error:
            raise TemplateFault(str(error) or type(error).__name__) from error
        except (TypeError, ValueError, KeyError, ArithmeticError, RecursionError) as error:
            raise TemplateFault(f"the template failed: {error}") from error
        return "".join(pieces)


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}``: prints its body, between marks when those are asked for."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_print", [jinja2.nodes.ContextReference()])
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _print(self, context: jinja2.runtime.Context, caller: jinja2.runtime.Macro) -> str:
        text = str(caller())
        return f"{_OPEN}{text}{_CLOSE}" if context.get("_finetui_marks") else text


class _Namespace(jinja2.utils.Namespace):
    """A template's variables; names with a leading underscore stay out of reach."""

    def __init__(*args: Any, **kwargs: Any):
        self, *rest = args  # so that a template may call a variable self
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _public(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _public(name)
        super().__setitem__(name, value)


class _Dict:
    """``dict(...)`` in a template, without the type behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _public(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"the name {name!r} is not open to templates")


def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """The dialect of chat templates, as transformers defines it."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_raise,
        strftime_now=lambda format: datetime.now().strftime(format),  # noqa: A006
        dict=_Dict(),
        namespace=_Namespace,
    )
    return environment


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


def _raise(message: str) -> str:
    raise jinja2.TemplateError(message)
