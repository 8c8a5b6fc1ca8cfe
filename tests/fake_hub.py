"""A Hub that serves one model from a folder to huggingface_hub, and remembers what was asked of it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" * 6 + "abcd"


class Hub:
    """`whole` and `in_part` name the files that were sent, in the order of the requests."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model
        self.whole: list[str] = []
        self.in_part: list[str] = []
        self.endpoint = ""


@contextmanager
def serve(folder: Path, model: str) -> Iterator[Hub]:
    """The model `model` ("owner/name") with the folder's files, at `Hub.endpoint`."""
    hub = Hub(folder, model)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub, path = self.hub, self.path.split("?")[0]
        file = hub.folder / path.rpartition("/")[2]
        if path.startswith(f"/api/models/{hub.model}"):
            siblings = [{"rfilename": each.name} for each in sorted(hub.folder.iterdir())]
            self._send(200, json.dumps({"id": hub.model, "sha": COMMIT, "siblings": siblings}).encode(), with_body)
        elif path == f"/{hub.model}/resolve/{COMMIT}/{file.name}" and file.is_file():
            data, ranged = file.read_bytes(), re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
            part = data[int(ranged[1]) : int(ranged[2]) + 1] if ranged else data
            if with_body:
                hub.whole += [] if ranged else [file.name]
                hub.in_part += [file.name] if ranged else []
            self._send(206 if ranged else 200, part, with_body)
        else:
            self._send(404, b"{}", with_body)

    def _send(self, status: int, body: bytes, with_body: bool) -> None:
        self.send_response(status)
        etag = self.path.rpartition("/")[2]  # files of one would be one file in the cache
        found = {"Content-Length": str(len(body)), "ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
        for key, value in (found if status < 400 else found | {"X-Error-Code": "EntryNotFound"}).items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
