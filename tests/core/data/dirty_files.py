"""Dirty data files to throw at the readers, and what has to hold for each of them.

Used by the short test of the suite and by `make fuzz`.
"""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from hypothesis import strategies as st

from core.config.errors import FinetuiError
from core.data.chats.formats import FORMATS, Converted, Defect, to_chat
from core.data.read.index import RowIndex
from core.data.read.sources import Rejected, Row, Source, read_rows

SECONDS_ALLOWED = 5.0
"""For one file of some kilobytes; only a hang takes longer, even on a machine that is shared."""

Dirty = tuple[str, bytes]
"""Name and content."""

ROLES = ["user", "assistant", "system", "tool", "human", "gpt", "function_call", "narrator", ""]
NAMES = [
    "messages", "conversations", "role", "content", "from", "value", "instruction", "input",
    "output", "prompt", "completion", "question", "answer", "text", "chosen", "rejected", "label",
    "tools", "tool_calls", "function", "name", "arguments", "history", "system", "images", "weight",
    "reasoning_content", "type", "thinking",
]  # fmt: skip
COLUMNS = [
    None, {"prompt": "question", "completion": "answer"}, {"text": "content"},
    {"messages": "conversations", "role": "from", "content": "value", "user": "human"},
    {"instruction": "input", "output": "text", "system": "role"},
]  # fmt: skip

texts = st.one_of(
    st.sampled_from(["", " ", "q", "NA", "null", '"', '5" wide', "a,b;c\td", "x\ny", "\r\n", "\0",
                     "\u2028", "\\", '[{"role": "user", "content": "q"}]', "```\n\n"]),
    st.text(max_size=20),
)  # fmt: skip
scalars = st.one_of(
    texts, st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats()
)
odd = dict.fromkeys(("value", "weight", "name", "tool_call_id", "content"), scalars)
roles = dict.fromkeys(("role", "from"), st.sampled_from(ROLES))
calls = st.lists(st.dictionaries(st.sampled_from(NAMES), scalars, max_size=3))
turns = st.fixed_dictionaries({}, optional={**odd, **roles, "tool_calls": calls})
values = st.recursive(
    st.one_of(scalars, st.lists(turns, max_size=5)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
rows = st.dictionaries(st.sampled_from(NAMES), values, max_size=5)
BROKEN = [
    b"", b" ", b"\r", b"{", b"}", b"null", b"[]", b"//", b"<a>", b"\x00", b"\xef\xbb\xbf{}",
    b"{'a': 1}", b'{"a": NaN}', b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b'{"a": "\xff"}',
    b"[" * 70 + b"]" * 70,
    b'{"a": ' * 2000, b'{"a": 1}}', b'{"a" : 1 , "a" : 1}', b'{"\\"":1,"\\"":2}', b'{"a": 1e999}',
    b'{"a": 123456789012345678901234567890}', b'{"a": "\\u0000"}',
]  # fmt: skip
broken_lines = st.sampled_from(BROKEN) | st.binary(max_size=30)


def packed(value: Any) -> bytes:
    """A value as JSON, broken characters and all."""
    return json.dumps(value).encode()


lines = st.lists(st.one_of(rows.map(packed), broken_lines), max_size=12)
cells = texts.map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=6)


@st.composite
def harmed(draw: st.DrawFn, content: st.SearchStrategy[bytes]) -> bytes:
    """A content with a few bytes lost, changed or put in."""
    raw = bytearray(draw(content))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 8))
        raw[place : place + length] = draw(st.binary(max_size=8))
    return bytes(raw)


def joined(parts: st.SearchStrategy[list[bytes]]) -> st.SearchStrategy[bytes]:
    """Lines with the same or with different ends."""
    return st.tuples(parts, st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r"]), st.booleans()).map(
        lambda made: made[1].join(made[0]) + (made[1] if made[2] else b"")
    )


json_lines = joined(lines)
documents = st.one_of(
    st.lists(rows, max_size=5).map(packed),
    st.lists(st.one_of(rows.map(packed), broken_lines), max_size=5).map(
        lambda parts: b"[" + b",\n".join(parts) + b"]"
    ),
    st.dictionaries(st.sampled_from(NAMES), st.lists(rows, max_size=3) | values, max_size=3).map(
        lambda value: json.dumps(value, indent=1).encode()
    ),
)
tables = st.tuples(
    st.sampled_from([b",", b";", b"\t", b"|"]),
    st.lists(st.lists(st.tuples(cells, st.booleans()), min_size=1, max_size=4), max_size=10),
).map(
    lambda made: b"prompt" + made[0] + b"completion\n" + b"\n".join(
        made[0].join(b'"' + cell + b'"' if quoted else cell for cell, quoted in record)
        for record in made[1]
    )
)  # fmt: skip
prose = st.lists(st.one_of(cells, st.sampled_from([b"", b"```", b"~~~"])), max_size=15).map(
    b"\n".join
)


@cache
def columnar_seeds() -> dict[str, tuple[bytes, ...]]:
    """Good Parquet and Arrow files, to be harmed."""
    table = pa.table(
        {
            "prompt": ["q", None, "long " * 50] * 20,
            "completion": pa.array(["a", "b", "b"] * 20).dictionary_encode(),
            "messages": [[{"role": "user", "content": "q"}], [], None] * 20,
            "raw": pa.array([b"x", b"\xff", None] * 20, pa.binary()),
            "share": [0.5, float("nan"), None] * 20,
        }
    )
    parquet = []
    for compression in ("none", "snappy", "zstd"):
        sink = BytesIO()
        pq.write_table(table, sink, compression=compression, row_group_size=25)
        parquet.append(sink.getvalue())
    stream, file = BytesIO(), BytesIO()
    for sink, opened in ((stream, ipc.new_stream), (file, ipc.new_file)):
        with opened(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=25)
    return {"parquet": tuple(parquet), "arrow": (stream.getvalue(), file.getvalue())}


def named(suffixes: list[str], content: st.SearchStrategy[bytes]) -> st.SearchStrategy[Dirty]:
    """Files of one sort, each harmed a little, under one of these suffixes."""
    return st.tuples(st.sampled_from([f"a{suffix}" for suffix in suffixes]), harmed(content))


plain_files = st.one_of(
    named([".jsonl", ".json", ".ndjson"], json_lines),
    named([".json", ".jsonl"], documents),
    named([".csv", ".tsv"], tables),
    named([".txt", ".md"], prose),
)
everything = st.one_of(json_lines, documents, tables, prose, st.binary(max_size=200))
encoded_files = st.tuples(
    plain_files, st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-8-sig"])
).map(
    lambda made: (made[0][0], made[0][1].decode("latin-1").encode(made[1], "replace"))
)  # fmt: skip
packed_files = st.one_of(
    st.tuples(plain_files, st.just(".gz")).map(
        lambda made: (made[0][0] + made[1], gzip.compress(made[0][1], mtime=0))
    ),
    named([".jsonl.gz", ".csv.zst", ".gz"], everything.map(gzip.compress)),
)
columnar_files = st.one_of(
    named(
        [".parquet", ".jsonl"], st.deferred(lambda: st.sampled_from(columnar_seeds()["parquet"]))
    ),
    named([".arrow", ".feather"], st.deferred(lambda: st.sampled_from(columnar_seeds()["arrow"]))),
)
SORTS: dict[str, st.SearchStrategy[Dirty]] = {
    "lines, documents, tables, text": plain_files,
    "other encodings": encoded_files,
    "packed": packed_files,
    "parquet and arrow": columnar_files,
    "anything under any name": named(
        [".jsonl", ".json", ".csv", ".txt", ".parquet", ".arrow", ".gz"], everything
    ),
}


def look_through(path: Path) -> int:
    """Read a file in every way there is; AssertionError where a promise is not kept.

    Only a FinetuiError may come out of the readers, nothing of the formats. Returns the rows.
    """
    began = time.monotonic()
    found: list[Row | Rejected] = []
    sources: list[Source] = []
    blanks: Counter[str] = Counter()
    refusal: FinetuiError | None = None
    try:
        for row in read_rows([path], blanks, on_file=sources.append):
            found.append(row)
    except FinetuiError as error:
        refusal = error
    assert refusal is None or (refusal.message and refusal.remedies)
    for row in found:
        check_row(row)
    if sources and sources[0].plain and refusal is None:
        check_lines(path.read_bytes(), found, blanks.total())
    check_index(path, found, refused=refusal is not None)
    took = time.monotonic() - began
    assert took < SECONDS_ALLOWED, f"{took:.1f} s"
    return len(found)


def check_row(row: Row | Rejected) -> None:
    """A row is plain JSON with a line, and a chat or a defect in every format."""
    assert row.line >= 1
    if isinstance(row, Rejected):
        assert row.reason.isidentifier()
        assert row.detail
        row.raw.encode()
        return
    json.dumps(row.value, allow_nan=False).encode()
    for columns in COLUMNS:
        for name in ("auto", *FORMATS):
            made = to_chat(row.value, name, columns)
            if isinstance(made, Defect):
                assert made.reason.isidentifier()
                assert made.detail
                continue
            assert isinstance(made, Converted)
            check_chat(made)


def check_chat(made: Converted) -> None:
    """A chat that can be learned from, of plain values."""
    json.dumps(made.chat)
    assert all(isinstance(message["content"], str) for message in made.chat)
    roles = [message["role"] for message in made.chat]
    assert roles == ["text"] or roles[-1] == "assistant"
    assert set(roles) <= {"system", "user", "assistant", "tool", "text"}


def check_lines(raw: bytes, found: list[Row | Rejected], blanks: int) -> None:
    """Each line that is not blank comes exactly once, with its number and its content."""
    parts = raw.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    wanted = [number for number, part in enumerate(parts, 1) if part.strip()]
    assert [row.line for row in found] == wanted
    whole = len(parts) - (not parts[-1])
    assert blanks == whole - len(wanted)
    for row in found:
        part = parts[row.line - 1]
        if isinstance(row, Row):
            assert row.value == json.loads(part)
        else:
            assert part.strip().decode("utf-8", "replace").startswith(row.raw.removesuffix("..."))


def check_index(path: Path, found: list[Row | Rejected], *, refused: bool) -> None:
    """Random access finds what reading finds, and refuses what reading refuses."""
    try:
        index = RowIndex(path)
    except FinetuiError:
        assert refused
        return
    try:
        index.scan_all()
        assert not refused or index.count == 0
    except FinetuiError:
        assert refused
    assert [index.row(number) for number in range(index.count)] == found
    index.close()
