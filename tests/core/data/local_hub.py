"""A hub of one data set on this machine: what the hub's client asks for, over HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class LocalHub:
    """Serves the files of a folder as ``owner/name``. ``asked`` has the paths of all requests."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.asked: list[str] = []
        self.gated = False
        """Files may not be read, as those of a data set whose terms were not accepted."""
        self.endpoint = ""

    def files(self) -> dict[str, int]:
        """The names of the files with their sizes."""
        return {
            str(path.relative_to(self.folder)): path.stat().st_size
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing: a client that is ended cuts its connections."""


@contextmanager
def served(folder: Path) -> Iterator[LocalHub]:
    """A hub that answers until the block ends."""
    hub = LocalHub(folder)

    class Handler(_Handler):
        pass

    Handler.hub = hub
    with _Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()


def _entry(path: str, size: int) -> dict[str, object]:
    return {"type": "file", "path": path, "size": size, "oid": "0" * 40}


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        if path.startswith("/api/datasets/owner/name/tree/"):
            self._answer([_entry(name, size) for name, size in self.hub.files().items()])
        elif path.startswith("/api/datasets/owner/name"):
            siblings = [{"rfilename": n, "size": s} for n, s in self.hub.files().items()]
            self._answer({"id": "owner/name", "sha": SHA, "siblings": siblings})
        elif found := re.fullmatch(r"/datasets/owner/name/resolve/[^/]+/(.*)", path):
            self._file(self.hub.folder / found[1])
        else:
            self._refuse(404, "RepoNotFound")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        files = self.hub.files()
        self._answer([_entry(path, files[path]) for path in body["paths"] if path in files])

    def _file(self, path: Path) -> None:
        if self.hub.gated:
            return self._refuse(403, "GatedRepo")
        whole = path.read_bytes()
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups()  # type: ignore[union-attr]
        part = whole[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header(
            "Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(whole)}"
        )
        self._send(part)
        return None

    def _answer(self, value: object) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self._send(json.dumps(value).encode())

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self._send(b"")

    def _send(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
