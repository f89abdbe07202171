"""Chat templates in the styles of well-known model families, written for these tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

CHATML = """\
{%- for m in messages %}
{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

LLAMA2 = """\
{%- set ns = namespace(system='') %}
{%- for m in messages %}
{%- if m.role == 'system' %}{% set ns.system = '<<SYS>>\\n' + m.content + '\\n<</SYS>>\\n\\n' %}
{%- elif m.role == 'user' %}
{{- bos_token + '[INST] ' + ns.system + m.content.strip() + ' [/INST]' }}
{%- set ns.system = '' %}
{%- else %}{{- ' ' + m.content.strip() + ' ' + eos_token }}
{%- endif %}
{%- endfor %}
"""

LLAMA3 = """\
{{- bos_token }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' }}
{{- m.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

LLAMA31 = """\
{{- bos_token }}
{%- if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}
{%- set ns = namespace(first=0, system='', tools=tools) %}
{%- if messages[0].role == 'system' %}
{%- set ns.system = messages[0].content | trim %}{% set ns.first = 1 %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{%- if tools %}{{ 'Environment: ipython\\n' }}{% endif %}
{{- 'Cutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n' }}
{{- ns.system + '<|eot_id|>' }}
{%- for m in messages[ns.first:] %}
{%- if m.role == 'user' and ns.tools %}
{{- '<|start_header_id|>user<|end_header_id|>\\n\\nYou may call these functions:\\n\\n' }}
{%- for t in ns.tools %}{{ t | tojson(indent=4) + '\\n\\n' }}{% endfor %}
{{- m.content | trim + '<|eot_id|>' }}
{%- set ns.tools = none %}
{%- elif m.tool_calls is defined and m.tool_calls %}
{%- if m.tool_calls | length != 1 %}{{ raise_exception('Only one call at once') }}{% endif %}
{%- set call = m.tool_calls[0].function %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{{- '{"name": "' + call.name + '", "parameters": ' + call.arguments | tojson + '}<|eot_id|>' }}
{%- elif m.role in ['tool', 'ipython'] %}
{{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + m.content | tojson + '<|eot_id|>' }}
{%- else %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
"""A system turn with the date in every chat; tools with the first question."""

MISTRAL = """\
{{- bos_token }}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Roles must be user and assistant in turns') }}
{%- endif %}
{%- if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}
{%- elif m.role == 'assistant' %}{{ m.content + eos_token + ' ' }}
{%- endif %}
{%- endfor %}
"""
"""No system role, and no header that asks for an answer."""

QWEN25 = """\
{%- set ns = namespace(first=0, system='You are Qwen, a helpful assistant.') %}
{%- if messages[0].role == 'system' %}
{%- set ns.system = messages[0].content %}{% set ns.first = 1 %}
{%- endif %}
{{- '<|im_start|>system\\n' + ns.system }}
{%- if tools %}
{{- '\\n\\n# Tools\\n\\n<tools>' }}
{%- for t in tools %}{{ '\\n' + t | tojson }}{% endfor %}{{ '\\n</tools>' }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- for m in messages[ns.first:] %}
{%- if m.role == 'tool' %}
{%- if loop.previtem.role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}
{%- elif m.tool_calls %}
{{- '<|im_start|>assistant' }}
{%- if m.content %}{{ '\\n' + m.content }}{% endif %}
{%- for call in m.tool_calls %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson + '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

QWEN3 = """\
{%- set ns = namespace(first=0, last=0) %}
{%- if tools or messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{ messages[0].content }}{% set ns.first = 1 %}{% endif %}
{%- for t in tools or [] %}{{ '\\n# Tool\\n' + t | tojson }}{% endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
{%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for m in messages %}
{%- if m.role == 'user' %}{{ '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}
{%- elif m.role == 'assistant' %}
{%- set text = m.content %}{% set thought = '' %}
{%- if m.reasoning_content is string %}{% set thought = m.reasoning_content %}
{%- elif '</think>' in text %}
{%- set thought = text.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
{%- set text = text.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.index0 > ns.last and (loop.last or thought) %}
{{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + text.lstrip('\\n') }}
{%- else %}{{ text }}
{%- endif %}
{%- for call in m.tool_calls or [] %}
{%- if text or not loop.first %}{{ '\\n' }}{% endif %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson + '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- elif m.role == 'tool' %}
{%- if messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""Thoughts only after the last question; an empty one where the last answer has none."""

PHI3 = """\
{% for m in messages %}
{% if m['role'] in ['system', 'user', 'assistant'] and m['content'] %}
{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}
"""
"""Ends finished chats, and so every beginning of one, with another token."""

SMOLLM2 = """\
{% for m in messages %}{% if loop.first and m['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful small model<|im_end|>\\n' }}{% endif %}\
{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""

DEEPSEEK = """\
{%- set ns = namespace(system='') %}
{%- for m in messages %}
{%- if m.role == 'system' %}{% set ns.system = m.content %}{% endif %}
{%- endfor %}
{{- '<｜begin▁of▁sentence｜>' + ns.system }}
{%- for m in messages %}
{%- if m.role == 'user' %}{{ '<｜User｜>' + m.content }}
{%- elif m.role == 'assistant' %}
{%- set text = m.content.split('</think>')[-1] %}
{{- '<｜Assistant｜>' + text + '<｜end▁of▁sentence｜>' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}
"""
"""Drops the thought of every answer, and opens one when it asks."""

ZEPHYR = """\
{% for m in messages %}
{% if m['role'] == 'user' %}
{{ '<|user|>\\n' + m['content'] + eos_token }}
{% elif m['role'] == 'system' %}
{{ '<|system|>\\n' + m['content'] + eos_token }}
{% elif m['role'] == 'assistant' %}
{{ '<|assistant|>\\n' + m['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

GEMMA = """\
{{- bos_token }}
{%- for m in messages %}
{%- if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- set role = 'model' if m.role == 'assistant' else m.role %}
{{- '<start_of_turn>' + role + '\\n' + m.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""

THINKING = """\
{%- set ns = namespace(last=-1) %}
{%- for m in messages %}
{%- if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for m in messages %}
{%- set text = m.content %}
{%- if m.role == 'assistant' and loop.index0 < ns.last and '</think>' in text %}
{%- set text = text.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + text + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""Drops what was thought in all answers but those after the last question."""

COUNTED = """\
{{- '<s>' ~ messages | length ~ '\\n' }}
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{{- '<|assistant|>' }}{% generation %}{{ m.content + eos_token }}{% endgeneration %}
{%- else %}{{ '<|user|>' + m.content }}
{%- endif %}
{%- endfor %}
"""
"""Begins with the number of turns, so that no prefix holds; marks what is generated."""

UNMARKED = COUNTED.replace("{% generation %}", "").replace("{% endgeneration %}", "")

PLAIN_STOP = """\
{%- for m in messages %}
{{- '### ' + m.role + '\\n' + m.content + '\\n--\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### assistant\\n' }}{% endif %}
"""
"""Ends turns with ordinary text instead of a special token."""

STOPS = {
    "chatml": (CHATML, "<|im_end|>"),
    "llama2": (LLAMA2, "</s>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "llama3.1": (LLAMA31, "<|eot_id|>"),
    "mistral": (MISTRAL, "</s>"),
    "qwen2.5": (QWEN25, "<|im_end|>"),
    "qwen3": (QWEN3, "<|im_end|>"),
    "phi3": (PHI3, "<|end|>"),
    "smollm2": (SMOLLM2, "<|im_end|>"),
    "deepseek": (DEEPSEEK, "<｜end▁of▁sentence｜>"),
    "zephyr": (ZEPHYR, "</s>"),
    "gemma": (GEMMA, "<end_of_turn>"),
    "thinking": (THINKING, "<|im_end|>"),
}
"""Style -> template, and the token that ends its answers."""

OPENINGS = {"qwen3": "<think>\n\n</think>\n\n"}
"""What a template itself writes at the beginning of a last answer."""

NO_SYSTEM = ("mistral", "gemma")
"""Templates that refuse a system turn."""

ModelMaker = Callable[..., Path]
"""Makes a model folder without weights from a template; see ``conftest.py``."""
