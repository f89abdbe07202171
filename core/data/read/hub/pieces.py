"""The files of a hub's data set in pieces, and the rows of a piece as lines of JSON.

A piece is a range of bytes: what begins in it, a line or a row group, is its own. The rows are read
by our own readers, so that each is what it is in a downloaded file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from core.config.errors import FinetuiError
from core.data.read.columnar import batch_rows
from core.data.read.compressed import Kept
from core.data.read.encoding import BOM
from core.data.read.hub.draw import Remote
from core.data.read.lines import line_blocks
from core.data.read.paths import LINES, PARQUET, is_packed, kind_suffix
from core.data.read.row import Rejected, Row, reason_of, refuse
from core.data.read.sources import look, rows_of

LINE_PIECE_BYTES = 1 << 20
PARQUET_PIECE_BYTES = 64 << 20
"""Small, so that a sample comes from many places."""
PIECE_LIMIT = 10_000
"""Of more pieces each is larger."""
_AMPLE_ROW_BYTES = 8 << 10

_BLOCK_BYTES = 1 << 20
_BATCH_ROWS = 64
_TO_THE_END = 1 << 62

Piece = tuple[str, str, int, int]
"""Address and name of a file, and the range of bytes in which a row has to begin."""


def pieces_of(files: Iterable[Remote], rows: int) -> list[Piece]:
    """The files cut into pieces; those that can be read from their beginning only are one each.

    Of very large files of lines a part of each piece has more than enough for ``rows``: the rest
    of it is passed over, so that the sample comes from many places here too.
    """
    files = list(files)
    total = sum(file.size_bytes for file in files)
    pieces: list[Piece] = []
    for file in files:
        step = span = size = max(1, file.size_bytes)
        if file.divisible:
            lines = kind_suffix(Path(file.name)) in LINES
            least = LINE_PIECE_BYTES if lines else PARQUET_PIECE_BYTES
            step = min(size, max(least, total // PIECE_LIMIT))
            enough = max(least, rows * _AMPLE_ROW_BYTES // PIECE_LIMIT)
            span = min(step, enough) if lines else step
        starts = range(0, size, step)
        ends = [start + span for start in starts]
        if span == step:
            ends[-1] = _TO_THE_END
        pieces += [(file.url, file.name, *both) for both in zip(starts, ends, strict=True)]
    return pieces


def examples(pieces: list[Piece]) -> Iterator[dict[str, Any]]:
    """What ``datasets`` shuffles: the rows of some pieces."""
    for url, name, start, end in pieces:
        suffix = kind_suffix(Path(name))
        columnar = suffix in PARQUET and not is_packed(Path(name))
        left_out: tuple[str, ...] = ()
        with _opened(url, ahead=not columnar) as file:
            try:
                if columnar:
                    rows, left_out = _parquet(file, url, name, start, end)
                    lines: Iterator[bytes] = map(_line_of, rows)
                elif suffix in LINES and not is_packed(Path(name)):
                    lines = _lines(file, name, start, end)
                else:
                    lines = _whole(file, name)
                for line in lines:
                    yield {"line": line, "file": name, "left_out": left_out}
            except Exception as error:
                if _is_broken(error):
                    refuse(f"{name} is broken or not what its name says: {reason_of(error)}",
                           "download it whole and look: set data.hub_sample_rows to 0")  # fmt: skip
                raise


def _opened(url: str, *, ahead: bool) -> IO[bytes]:
    """A file of the hub for reading. The hub's client tries again when it is cut off."""
    cache = "readahead" if ahead else "none"
    file: IO[bytes] = _system(url).open(url, "rb", block_size=_BLOCK_BYTES, cache_type=cache)
    return file


_SYSTEMS: dict[str, Any] = {}


def get_ready(url: str) -> None:
    """Learn what is there, before many threads ask for the same at once."""
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    system, path = url_to_fs(url)
    system.info(path)
    _SYSTEMS[_protocol(url)] = system


def _system(url: str) -> Any:
    """Where an address leads. All threads share it, and what it knows of the files."""
    return _SYSTEMS[_protocol(url)]


def _protocol(url: str) -> str:
    return url.partition("://")[0] if "://" in url else "file"


def _lines(file: IO[bytes], name: str, start: int, end: int) -> Iterator[bytes]:
    """The lines that begin in a range of a file, as they stand."""
    place = max(0, start - 1)
    file.seek(place)
    for number, lines in enumerate(line_blocks(file, _BLOCK_BYTES)):
        for at, raw in enumerate(lines):
            begins, place = place, place + len(raw) + 1
            if number == at == 0 and start:
                continue  # it began before
            if begins >= end:
                return
            if b"\0" in raw:
                refuse(f"{name} is no JSON lines in UTF-8",
                       "have it downloaded whole: set data.hub_sample_rows to 0")  # fmt: skip
            if raw and not raw.isspace():
                yield raw.removeprefix(BOM).rstrip(b"\r")


_FOOTERS: dict[str, Any] = {}
"""Those of the Parquet files read last."""
_FOOTER_LIMIT = 32


def _parquet(
    file: IO[bytes], url: str, name: str, start: int, end: int
) -> tuple[Iterator[Row | Rejected], tuple[str, ...]]:
    """The rows of the row groups that begin in a range, and the columns that are not loaded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(
        pa.PythonFile(Kept(file), "r"),
        metadata=_FOOTERS.get(url),
        pre_buffer=False,
        buffer_size=_BLOCK_BYTES,
    )
    if len(_FOOTERS) >= _FOOTER_LIMIT:
        _FOOTERS.clear()
    footer = _FOOTERS[url] = table.metadata
    groups = [
        number for number in range(footer.num_row_groups)
        if start <= _begin(footer.row_group(number)) < end
    ]  # fmt: skip
    left_out = tuple(field.name for field in table.schema_arrow if _is_media(field.type))
    columns = [field for field in table.schema_arrow.names if field not in left_out]

    def rows() -> Iterator[Row | Rejected]:
        number = 0
        for batch in table.iter_batches(
            _BATCH_ROWS, groups, columns if left_out else None, use_threads=False
        ):
            yield from batch_rows(batch, name, number)
            number += batch.num_rows

    return (rows() if groups else iter(())), left_out


def _begin(group: Any) -> int:
    """Where a row group begins in its file."""
    column = group.column(0)
    places = (column.dictionary_page_offset, column.data_page_offset)
    return min(int(place) for place in places if place is not None)


def _is_media(kind: Any) -> bool:
    """Whether values are images or sound, as ``datasets`` keeps them: bytes and a path."""
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind):
        return _is_media(kind.value_type)
    if not types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    inside = kind.field("bytes").type
    return bool(types.is_binary(inside) or types.is_large_binary(inside))


def _whole(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The rows of a file from its beginning, by the readers of local files."""
    source = look(Path(name), file)
    if source.kind == "lines":
        for lines in line_blocks(source.text(file)):
            yield from (raw.rstrip(b"\r") for raw in lines if raw and not raw.isspace())
    else:
        yield from map(_line_of, rows_of(source, file, Counter()))


def _line_of(row: Row | Rejected) -> bytes:
    """A row as a line; one that cannot be used as a text, which the readers reject."""
    if isinstance(row, Rejected):
        return json.dumps(f"{row.reason}: {row.detail}").encode()
    try:
        return orjson.dumps(row.value)
    except TypeError:  # a whole number beyond 64 bits
        return json.dumps(row.value).encode()


def _is_broken(error: Exception) -> bool:
    """Whether an error is of a file's content, and not of the way to it."""
    import pyarrow as pa

    if isinstance(error, FinetuiError) or type(error).__module__.startswith(("httpx", "httpcore")):
        return False
    of_arrow = type(error) is OSError and error.errno is None
    kinds = (pa.ArrowException, ValueError, KeyError, EOFError, MemoryError, OverflowError)
    return of_arrow or (isinstance(error, kinds) and not isinstance(error, OSError))
