"""The judge over a server of our own: what it is asked, what is read from its answer, and how it can fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edgequant import Error
from edgequant.accuracy.public import judge

TALK = [
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Rhine."},
    {"role": "user", "content": "And a longer one?"},
    {"role": "assistant", "content": "The Danube."},
]


class Server:
    """Answers chat completions with the texts that it is given, in turn; keeps what it was asked."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.status, self.raw = 200, b""
        ours = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ours.asked.append({"path": self.path, "key": self.headers["Authorization"], **json.loads(body)})
                self.send_response(ours.status)
                self.end_headers()
                said = {"choices": [{"message": {"content": ours.texts.pop(0) if ours.texts else ""}}]}
                self.wfile.write(ours.raw or json.dumps(said).encode())

            def log_message(self, *args: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever)
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def test_each_turn_is_rated_with_what_was_said_before(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(judge.KEY_VARIABLE, "secret")
    server.texts = ["Short, but right. [[7]]", "As an example [[5]] is middling; this is better: [[9]]"]
    assert judge.rating(server.url, TALK, model="m") == 8.0
    first, second = server.asked
    assert first["path"] == "/v1/chat/completions" and first["key"] == "Bearer secret"
    assert (first["model"], first["temperature"]) == ("m", 0)
    assert "The Rhine." in first["messages"][1]["content"] and "Danube" not in first["messages"][1]["content"]
    assert second["messages"][1]["content"].endswith("The Danube.")


@pytest.mark.parametrize("text", ["no rating", "[[11]]", "[[0]]", "[[good]]", ""])
def test_no_rating(server: Server, text: str) -> None:
    server.texts = [text]
    with pytest.raises(Error, match="gave no rating"):
        judge.score(server.url, TALK)


@pytest.mark.parametrize(
    ("status", "raw", "said"),
    [(500, b"", "answers with 500"), (200, b"<html>", "does not answer"), (200, b'{"choices": []}', "another form"),
     (200, b"[]", "another form")],
)  # fmt: skip
def test_a_judge_that_is_ill(server: Server, status: int, raw: bytes, said: str) -> None:
    server.status, server.raw = status, raw
    with pytest.raises(Error, match=said):
        judge.score(server.url, TALK)


def test_a_judge_that_is_not_there(server: Server) -> None:
    with pytest.raises(Error, match="does not answer"):
        judge.score("http://127.0.0.1:9/v1", TALK)
    with pytest.raises(Error, match="no address"):
        judge.score("judge.example", TALK)
