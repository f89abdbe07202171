"""From files to rows: every row with its file and line, every defect with its reason.

A broken row costs that row and nothing else. What concerns a whole file (missing, empty, not
text, cut short inside) is an InputError that says what to do. What a file holds goes by its
content first and by its name second.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NoReturn

from core.config.errors import FailedError, InputError
from core.data.chats.nesting import DEPTH_LIMIT
from core.data.read import paths
from core.data.read import row as limits
from core.data.read.alphabets import example
from core.data.read.charsets import CHARSETS
from core.data.read.columnar import arrow_rows, parquet_rows
from core.data.read.compressed import (
    ARCHIVES,
    Compression,
    Unpacked,
    compression_of,
    spooled,
    stop_early_bombs,
)
from core.data.read.document import document_rows
from core.data.read.encoding import (
    BOM,
    NAMES,
    Encoding,
    MacLines,
    Transcoded,
    WithoutMark,
    find_encoding,
    has_mac_ends,
)
from core.data.read.kinds import Kind, refuse_pointer, text_kind
from core.data.read.lines import line_rows, parse_line
from core.data.read.paths import check_file, check_name, expand
from core.data.read.prose import text_rows
from core.data.read.row import (
    LINE_LIMIT_BYTES,
    RAW_LIMIT,
    Reader,
    Rejected,
    Row,
    reason_of,
    refuse,
    show,
)
from core.data.read.tables import SEPARATORS, separator_of, table_rows

__all__ = [
    "DEPTH_LIMIT", "LINE_LIMIT_BYTES", "RAW_LIMIT", "Rejected", "Row", "Source", "check_file",
    "check_name", "expand", "look", "open_file", "parse_line", "read_rows", "rows_of", "show",
]  # fmt: skip

_SAMPLE_BYTES = 64 << 10
_WINDOWS, _EVERY = 128, 8
"""Windows of a file, of ``_SAMPLE_BYTES`` each, that are looked through for bytes beyond ASCII:
all of a file up to 8 MiB. One in eight is a sample in any case."""
_PIECE_BYTES = 4 << 10
_HIGH = re.compile(rb"[\x80-\xff]")
_KIND_WORDS = {
    "lines": "JSON lines", "document": "a JSON document", "table": "a table", "text": "plain text",
    "parquet": "Parquet", "arrow": "Arrow",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """What a file is, as it was found."""

    path: Path
    kind: Kind
    compression: Compression | None = None
    encoding: Encoding = "utf-8"
    separator: str = ""
    """Of a table."""
    bom: bool = False
    mac_ends: bool = False
    """Its lines end as on old Macs, in CR alone."""
    doubt: str = ""
    """Words of it as they are read, where another encoding is possible too."""

    @property
    def words(self) -> str:
        """What was found, for a person: ``a table (semicolon), Latin-1 (Windows-1252), gzip``."""
        kind = _KIND_WORDS[self.kind]
        parts = [f"{kind} ({SEPARATORS[self.separator]})" if self.separator else kind]
        if self.kind not in ("parquet", "arrow"):
            parts.append(NAMES[self.encoding] + (" with a byte order mark" if self.bom else ""))
        parts += ["line ends of old Macs"] if self.mac_ends else []
        parts += [self.compression] if self.compression else []
        parts += [f"in doubt: {self.doubt}"] if self.doubt else []
        return ", ".join(parts)

    @property
    def warning(self) -> str:
        """What a person should look at before rows of this file are learned; mostly nothing."""
        if not self.doubt:
            return ""
        return (
            f"{self.path.name} was read as {NAMES[self.encoding]}, and may be in another encoding: "
            f"{self.doubt}. If that reads wrong, convert the file with its own encoding, such as "
            "CP1250 for Polish or Czech: iconv -f CP1250 -t UTF-8 OLD > NEW"
        )

    @property
    def plain(self) -> bool:
        """Whether the file's own bytes are lines of UTF-8."""
        bytes_stay = self.compression is None and self.encoding == "utf-8" and not self.mac_ends
        return self.kind == "lines" and bytes_stay

    def unpacked(self, file: IO[bytes]) -> Reader:
        """The file's bytes from the front, unpacked."""
        file.seek(0)
        return file if self.compression is None else Unpacked(file, self.compression, self.path)

    def text(self, file: IO[bytes]) -> Reader:
        """The file's text from the front, as UTF-8 without a mark."""
        stream = self.unpacked(file)
        if self.encoding == "utf-8":
            stream = WithoutMark(stream)
        else:
            stream = Transcoded(stream, self.encoding)
        return MacLines(stream) if self.mac_ends else stream


def read_rows(
    files: Sequence[str | Path],
    blank_lines: Counter[str] | None = None,
    *,
    on_file: Callable[[Source], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Row | Rejected]:
    """All rows of all files, in order, in constant memory.

    ``files`` may name folders, patterns and data sets of a hub too; ``say`` hears of downloads.
    Blank lines are no rows; they are counted by file in ``blank_lines``. ``on_file`` hears what
    each file was found to be. Raises InputError for a file that cannot be used, and FailedError
    when a file changes while it is read.
    """
    blanks: Counter[str] = Counter() if blank_lines is None else blank_lines
    for path in expand(files, say):
        with opened(path) as file:
            source = look(path, file)
            if on_file is not None:
                on_file(source)
            yield from rows_of(source, file, blanks)


def rows_of(
    source: Source,
    file: IO[bytes],
    blanks: Counter[str],
    told: Callable[[float], None] = lambda part: None,
) -> Iterator[Row | Rejected]:
    """The rows of one open file. ``told`` hears the part that was read where the file knows."""
    name = str(source.path)
    if source.kind in ("parquet", "arrow"):
        read = parquet_rows if source.kind == "parquet" else arrow_rows
        with ExitStack() as stack:
            if source.compression is not None:
                file = stack.enter_context(spooled(source.unpacked(file)))
            yield from read(file, name, told)
    elif source.kind == "document":
        yield from document_rows(lambda: source.text(file), name)
    elif source.kind == "table":
        tabs = paths.kind_suffix(source.path) == ".tsv"
        yield from table_rows(source.text(file), name, blanks, tabs=tabs)
    elif source.kind == "text":
        yield from text_rows(source.text(file), name)
    else:
        yield from line_rows(source.text(file), name, blanks)


def look(path: Path, file: IO[bytes]) -> Source:
    """What an open file is. Raises InputError for what is plainly no data."""
    compression = compression_of(_head(file, 8))
    source = Source(path, "lines", compression)
    stream = source.unpacked(file)
    head = _exactly(stream, _SAMPLE_BYTES)
    if not head:
        refuse(f"{path} unpacks to nothing", "compress or download it again")
    if isinstance(stream, Unpacked):
        stop_early_bombs(stream)
    refuse_pointer(path, head)
    _refuse_archives(path, head, compression)
    kind = _columnar_kind(path, head)
    if kind is not None:
        return Source(path, kind, compression)
    samples = [head] if compression else [head, *_more_samples(file)]
    found = find_encoding(samples)
    if found.encoding is None:
        refuse(f"{path} is a binary file or UTF-32", "give text in UTF-8, one JSON object a line")
    if found.likely:
        _refuse_charset(path, found.likely, samples, packed=compression is not None)
    doubt = _reads(samples, found.encoding, found.odd) if found.doubt else ""
    bom = head.startswith(BOM)
    source = Source(path, "lines", compression, found.encoding, bom=bom, doubt=doubt)
    return _textual(source, file)


def _reads(samples: Sequence[bytes], encoding: str, odd: bytes = b"") -> str:
    """Some words beyond ASCII as they read in an encoding, and where they stand."""
    sample = next(sample for sample in samples if odd in sample and not sample.isascii())
    line, words = example(sample, encoding, odd)
    return f"line {line} reads “{words}”" if sample is samples[0] else f"a line reads “{words}”"


def _refuse_charset(path: Path, likely: str, samples: Sequence[bytes], *, packed: bool) -> NoReturn:
    """Refuse a file in an encoding that is not read, which could be no more than guessed."""
    charset = CHARSETS[likely]
    unpack = "unpack it, and " if packed else ""
    raise InputError(
        f"{path} is not UTF-8 but probably {charset.iconv} ({charset.words}): "
        f"{_reads(samples, likely)} in it",
        kind="not_utf8",
        remedies=(
            f"{unpack}convert it: iconv -f {charset.iconv} -t UTF-8 OLD > NEW",
            "look at NEW; if it does not read well, try another encoding instead of "
            f"{charset.iconv}, such as CP1252 for Western European",
        ),
    )


def _textual(source: Source, file: IO[bytes]) -> Source:
    """A source of text with its kind."""
    path, suffix = source.path, paths.kind_suffix(source.path)
    separator = ""
    head = _exactly(source.text(file), _SAMPLE_BYTES)
    source = replace(source, mac_ends=has_mac_ends(head))
    head = (head.replace(b"\r", b"\n") if source.mac_ends else head).lstrip()
    if suffix not in paths.TEXTS and head.startswith(b"<"):
        refuse(f"{path} is a web page or XML, not data", "download the raw file again")
    if not suffix and not head.startswith((b"{", b"[")):
        refuse(f"{path} does not say what it holds", "name it .jsonl.gz, .csv.gz or the like")
    kind = text_kind(path, suffix, _two_lines(source, file, head))
    if kind == "table":
        separator = separator_of(source.text(file), tabs=suffix == ".tsv")
    return replace(source, kind=kind, separator=separator)


def _two_lines(source: Source, file: IO[bytes], head: bytes) -> bytes:
    """The beginning of a text with all of its first line, up to the limit of a line."""
    opened = head[:1] in (b"{", b"[")
    if not opened or b"\n" in head.rstrip() or len(head) < _SAMPLE_BYTES // 2:
        return head
    return _exactly(source.text(file), limits.LINE_LIMIT_BYTES).lstrip()


def _columnar_kind(path: Path, head: bytes) -> Kind | None:
    suffix = paths.kind_suffix(path)
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1") or suffix in paths.ARROW:
        return "arrow"
    if suffix in paths.PARQUET:
        refuse(f"{path} is no Parquet file: it does not begin as one", "download it again")
    return None


def _refuse_archives(path: Path, head: bytes, compression: Compression | None) -> None:
    nested = compression is not None and compression_of(head) is not None
    tar = head[257:262] == b"ustar"
    if nested or tar or head.startswith(ARCHIVES):
        what = "compressed twice" if nested else "an archive, and no archive is opened"
        refuse(f"{path} is {what}", "unpack it, and name the files")


def _more_samples(file: IO[bytes]) -> Iterator[bytes]:
    """Pieces from all over a file, to find its encoding by: above all those beyond ASCII."""
    try:
        size = os.fstat(file.fileno()).st_size
    except io.UnsupportedOperation:
        return  # a file that is far away: its beginning has to do
    windows = min(_WINDOWS, -(-size // _SAMPLE_BYTES))
    for number in range(1, windows):
        block = os.pread(file.fileno(), _SAMPLE_BYTES, size * number // windows)
        if number % _EVERY == 0:
            yield block[: _SAMPLE_BYTES // 4]
        if first := _HIGH.search(block):
            start = max(0, block.rfind(b"\n", 0, first.start()))
            yield block[start : first.start() + _PIECE_BYTES]


def _head(file: IO[bytes], size: int) -> bytes:
    file.seek(0)
    return file.read(size)


def _exactly(stream: Reader, size: int) -> bytes:
    parts, missing = [], size
    while missing > 0 and (block := stream.read(missing)):
        parts.append(block)
        missing -= len(block)
    return b"".join(parts)


def open_file(path: Path) -> IO[bytes]:
    """A data file for reading. Raises InputError for what is none."""
    path = check_file(path)
    try:
        # Not blocking: what was a file a moment ago may be a pipe now.
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    except OSError as error:
        refuse(f"cannot read {path}: {reason_of(error)}", "check its permissions")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A data file for reading; FailedError when somebody changed it meanwhile."""
    with open_file(path) as file:
        before = os.fstat(file.fileno())
        yield file
        after = path.stat() if path.exists() else None
        if after is None or (before.st_size, before.st_mtime_ns, before.st_ino) != (
            after.st_size, after.st_mtime_ns, after.st_ino,
        ):  # fmt: skip
            raise FailedError(
                f"{path} was changed while it was read",
                kind="file_changed",
                remedies=("wait until it is written, then start again",),
            )
