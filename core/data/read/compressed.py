"""gzip and Zstandard files, unpacked while they are read, with limits against bombs."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from pathlib import Path
from typing import IO, Literal

from core.data.read.row import BLOCK_BYTES, Reader, reason_of, refuse

Compression = Literal["gzip", "zstd"]

SIZE_LIMIT_BYTES = 256 << 30
"""A file that unpacks to more is refused."""
RATIO_LIMIT = 500
"""A file that unpacks to more than so many times its size is refused: text packs 3 to 30 times."""
RATIO_FREE_BYTES = 64 << 20
"""Up to here the ratio does not count: small files of equal rows may pack very well."""

_SUSPICIOUS_RATIO = 100
_SAMPLE_BYTES = 8 << 20

SUFFIXES = (".gz", ".zst", ".zstd")
_MAGIC: tuple[tuple[bytes, Compression], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
ARCHIVES = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")
"""How other archives begin; none of them is opened."""


def compression_of(head: bytes) -> Compression | None:
    """How a file that begins so is compressed."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


class Kept:
    """A file for pyarrow, which would close it at its own end: it stays open here."""

    closed = False
    mode = "rb"

    def __init__(self, file: IO[bytes]):
        self.read, self.seek, self.tell = file.read, file.seek, file.tell

    def close(self) -> None:
        """Nothing: whoever opened the file closes it."""

    def readable(self) -> bool:
        """Yes, and never written."""
        return True

    def seekable(self) -> bool:
        """Yes: a file on disk."""
        return True


class Unpacked:
    """The inside of a compressed file. Raises InputError for broken files and for bombs."""

    def __init__(self, file: IO[bytes], compression: Compression, path: Path):
        self._file = file
        self._path = path
        self.total = 0
        """Bytes unpacked so far."""
        self._stream: Reader
        if compression == "gzip":
            self._stream = gzip.GzipFile(fileobj=file, mode="rb")
        else:
            import pyarrow as pa  # a tenth of a second, for such files only

            self._stream = pa.CompressedInputStream(pa.PythonFile(Kept(file), "r"), "zstd")

    @property
    def ratio(self) -> float:
        """How many times its size a file unpacks to, as far as it was read."""
        return self.total / max(1, self._file.tell())

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes of the inside; none at its end."""
        try:
            block = self._stream.read(size)
        except (OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
            if "Not a gzipped file" in str(error):  # its beginning was one
                refuse(
                    f"{self._path} has something else behind the end of what is packed in it",
                    "unpack it (gunzip -c OLD > NEW leaves the rest out), and look at the end of "
                    "NEW; or download it again",
                )
            refuse(
                f"{self._path} is cut short or broken inside: {reason_of(error)}",
                "download or compress it again",
            )
        self.total += len(block)
        self._stop_bombs()
        return block

    def _stop_bombs(self) -> None:
        if self.total > SIZE_LIMIT_BYTES:
            refuse(
                f"{self._path} unpacks to more than {SIZE_LIMIT_BYTES >> 30} GiB",
                "split it into several files",
                kind="unpacks_too_large",
            )
        if self.total > RATIO_FREE_BYTES and self.ratio > RATIO_LIMIT:
            refuse(
                f"{self._path} unpacks to more than {RATIO_LIMIT} times its size: "
                "this is made to fill memory or disk, or holds nothing but repetition",
                "look at its origin; unpack it yourself if you trust it",
                kind="unpacks_too_large",
            )


def stop_early_bombs(stream: Unpacked) -> None:
    """Unpack the beginning of a file that packs suspiciously well before any row of it is read.

    A bomb of many short lines would otherwise be rejected line by line up to the limit.
    """
    while stream.total < _SAMPLE_BYTES:
        if not stream.read(BLOCK_BYTES):
            return
    if stream.ratio < _SUSPICIOUS_RATIO:
        return
    while stream.total <= RATIO_FREE_BYTES and stream.read(BLOCK_BYTES):
        pass


def spooled(stream: Reader) -> IO[bytes]:
    """All of a stream in a file without a name, for readers that have to seek."""
    file = tempfile.TemporaryFile(dir=spool_folder())  # noqa: SIM115 - the caller closes it
    while block := stream.read(BLOCK_BYTES):
        file.write(block)
    file.flush()
    file.seek(0)
    return file


def spool_folder() -> str:
    """Where unpacked data lies for a while: on a disk where there is one, ``TMPDIR`` decides."""
    default = tempfile.gettempdir()
    lasting = Path("/var/tmp")  # noqa: S108 - the file has no name there; /tmp may be memory
    return str(lasting) if default == "/tmp" and lasting.is_dir() else default  # noqa: S108
