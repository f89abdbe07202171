"""Parquet and Arrow files as rows of plain values. ``line`` of a row is its number, from 1.

Some hundred rows are in memory at a time; of an Arrow file one of its batches. The libraries are
imported where such a file is met.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Callable, Iterator
from typing import IO, Any

import orjson

from core.data.chats.nesting import deeper_than
from core.data.read import row as limits
from core.data.read.compressed import Kept
from core.data.read.row import Rejected, Row, reason_of, refuse, show

_BATCH_ROWS = 256

Batches = Iterator[Any]


def parquet_rows(
    file: IO[bytes], name: str, told: Callable[[float], None]
) -> Iterator[Row | Rejected]:
    """The rows of a Parquet file. ``told`` hears the part that was read, 0 to 1."""
    yield from _rows(file, name, _parquet_batches, told)


def arrow_rows(
    file: IO[bytes], name: str, told: Callable[[float], None]
) -> Iterator[Row | Rejected]:
    """The rows of an Arrow file: IPC file or stream, as ``datasets`` keeps them."""
    yield from _rows(file, name, _arrow_batches, told)


def _rows(
    file: IO[bytes], name: str, batches: Callable[..., Batches], told: Callable[[float], None]
) -> Iterator[Row | Rejected]:
    import pyarrow as pa

    number = 0
    try:
        for batch in batches(pa, file, told):
            _check_names(batch, name)
            for found in batch_rows(batch, name, number):
                number += 1
                yield found
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError) as error:
        where = f" behind row {number}" if number else ""
        refuse(
            f"{name} is cut short, broken or not what its name says{where}: {reason_of(error)}",
            "download or write it again",
        )
    if not number:
        refuse(f"{name} has no rows", "check how it was written")


def _parquet_batches(pa: Any, file: IO[bytes], told: Callable[[float], None]) -> Batches:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(pa.PythonFile(Kept(file), "r"), pre_buffer=False, buffer_size=1 << 20)
    done, total = 0, max(1, table.metadata.num_rows)
    for batch in table.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
        yield batch
        done += batch.num_rows
        told(done / total)
    if done != table.metadata.num_rows:
        raise ValueError(f"its footer speaks of {table.metadata.num_rows} rows, {done} are there")


def _arrow_batches(pa: Any, file: IO[bytes], told: Callable[[float], None]) -> Batches:
    import pyarrow.ipc as ipc

    size = max(1, file.seek(0, 2))
    file.seek(0)
    head = file.read(6)
    file.seek(0)
    source = pa.PythonFile(Kept(file), "r")
    if head == b"ARROW1":
        reader = ipc.open_file(source)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        batches = iter(ipc.open_stream(source))
    for batch in batches:
        batch.validate(full=True)  # its offsets are foreign numbers
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)
        told(min(1.0, file.tell() / size))


def _check_names(batch: Any, name: str) -> None:
    names = batch.schema.names
    twice = next((n for number, n in enumerate(names) if n in names[:number]), None)
    if twice is not None:
        refuse(f"{name} has the column {twice[:80]!r} twice", "rename one of them")


def batch_rows(batch: Any, name: str, before: int) -> Iterator[Row | Rejected]:
    """The rows of one batch of an Arrow table, which come after so many others."""
    for number, values in enumerate(_plain_rows(batch), before + 1):
        yield _row(values, name, number)


def _plain_rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Rows of a batch in plain values; a text that is no UTF-8 makes a row a word about it."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        rows = [_one(batch.slice(number, 1)) for number in range(batch.num_rows)]
    odd = any(not _is_plain(field.type) for field in batch.schema)
    for row in rows:
        yield plain(row) if odd and isinstance(row, dict) else row


def _one(batch: Any) -> dict[str, Any] | str:
    try:
        row: dict[str, Any] = batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return f"a text of this row is not UTF-8 at its byte {error.start + 1}"
    return row


def _is_plain(kind: Any) -> bool:
    """Whether values of an Arrow type are plain JSON values in Python."""
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind):
        return _is_plain(kind.value_type)
    if types.is_struct(kind):
        return all(_is_plain(field.type) for field in kind)
    checks = (
        types.is_string,
        types.is_large_string,
        types.is_integer,
        types.is_boolean,
        types.is_null,
    )
    return any(check(kind) for check in checks)


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes of text as text, times and decimals written out.

    Bytes that are no text become an object, which no format takes for a text.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"bytes": len(value)}
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return str(value)


def _row(values: dict[str, Any] | str, name: str, number: int) -> Row | Rejected:
    if isinstance(values, str):
        return Rejected(name, number, "not_utf8", values)
    if deeper_than(values):
        return Rejected(name, number, "too_deep", "nested too deep")
    long = sum(len(v) for v in values.values() if isinstance(v, str)) > limits.LINE_LIMIT_BYTES
    if long:
        detail = f"longer than {limits.LINE_LIMIT_BYTES >> 20} MiB"
        raw = orjson.dumps({key: str(v)[:200] for key, v in values.items()})
        return Rejected(name, number, "line_too_long", detail, show(raw))
    return Row(name, number, values)
