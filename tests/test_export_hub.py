"""The way to the Hub: what would be sent is what is sent, to a Hub that is none, and licences have the last word."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import shipments
from edgequant import Error
from edgequant.export.shipping import hub
from edgequant.export.shipping.shipment import Shipment, gather

REPO = "owner/small-Q8_0"


class TakingHub:
    """A Hub that takes a commit of small files; `requests` are those that change something."""

    def __init__(self, *, refuses: int = 0) -> None:
        self.refuses = refuses
        self.endpoint = ""
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()


@contextmanager
def taking(*, refuses: int = 0) -> Iterator[TakingHub]:
    """The Hub at `TakingHub.endpoint`; `refuses` is the status that it answers everything with."""
    made = TakingHub(refuses=refuses)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": made}))
    made.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: TakingHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.tokens.add(self.headers.get("Authorization", ""))
        if self.hub.refuses:
            self._answer(self.hub.refuses, {"error": "You do not own <this>"})
        elif self.path == "/api/validate-yaml":  # of the card
            self._answer(200, {"errors": [], "warnings": []})
        elif self.path == "/api/repos/create":
            self.hub.requests.append(("create", json.loads(body)))
            self._answer(200, {"url": f"{self.hub.endpoint}/{REPO}"})
        elif self.path.startswith(f"/api/models/{REPO}/preupload/"):
            files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for each in json.loads(body)["files"]]  # fmt: skip
            self._answer(200, {"files": files})
        elif self.path.startswith(f"/api/models/{REPO}/commit/"):
            self._take([json.loads(line) for line in body.decode().splitlines()])
            self._answer(200, {"commitUrl": f"{self.hub.endpoint}/{REPO}/commit/abc", "commitOid": "abc"})
        else:
            self._answer(404, {"error": f"nothing at {self.path}"})

    def do_GET(self) -> None:
        self._answer(self.hub.refuses or 200, {"id": REPO, "sha": "abc", "siblings": [], "private": False})

    def _take(self, lines: list[dict[str, Any]]) -> None:
        self.hub.requests.append(("commit", lines[0]["value"]))
        for line in lines[1:]:
            self.hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])

    def _answer(self, status: int, values: dict[str, Any]) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def shipment(tmp_path: Path) -> Shipment:
    return gather(shipments.run(tmp_path).path, "Q8_0")


def without_licence(shipment: Shipment) -> Shipment:
    for name in ("README.md", "LICENSE"):
        (shipment.origin.papers / name).unlink()
    return shipment


def forbidden(shipment: Shipment) -> Shipment:
    (shipment.origin.papers / "README.md").write_text("---\nlicense: cc-by-nc-nd-4.0\n---\n")
    return shipment


def on(taken: TakingHub, patch: pytest.MonkeyPatch, home: Path) -> None:
    values = {"HF_ENDPOINT": taken.endpoint, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_TOKEN": "hf_secret"}
    for name, value in {**values, "HF_HUB_DISABLE_XET": "1"}.items():
        patch.setenv(name, value)


def test_a_look_sends_nothing(shipment: Shipment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with taking() as taken:
        on(taken, monkeypatch, tmp_path / "home")
        made, excerpt = hub.look(shipment, repo=REPO)
    assert not taken.requests and not taken.tokens
    assert made.folder == REPO and "small-Q8_0.gguf" in made.files and "export.json" not in made.files
    assert excerpt.startswith("---\nlicense: apache-2.0\n")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(("change", "why"), [(without_licence, "nothing says"), (forbidden, "forbids")])
def test_a_licence_is_asked_for_before_anything_is_sent(
    change: Any, why: str, shipment: Shipment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipment = change(shipment)
    made, _ = hub.look(shipment, repo=REPO)
    assert f"an upload would be refused: {why}" in made.notes[0] or why in made.notes[0]
    with taking() as taken:
        on(taken, monkeypatch, tmp_path / "home")
        with pytest.raises(Error, match=why) as caught:
            hub.upload(shipment, repo=REPO, private=False, accepts_licence=False)
    assert "--accept-licence" in (caught.value.hint or "") and not taken.tokens


@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True])
def test_what_is_sent_is_what_was_shown(
    private: bool, shipment: Shipment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown, _ = hub.look(shipment, repo=REPO)
    with taking() as taken:
        on(taken, monkeypatch, tmp_path / "home")
        sent = hub.upload(shipment, repo=REPO, private=private, accepts_licence=False)
    assert sent.folder.endswith(f"{REPO}/commit/abc")
    assert {name: len(content) for name, content in taken.files.items()} == shown.files == sent.files
    assert taken.files["small-Q8_0.gguf"] == Path(shipment.artifact.path).read_bytes()
    (create, commit) = taken.requests
    assert create[1].get("private") in ((True,) if private else (None, False))
    assert commit[1]["summary"] == "Q8_0, by edgequant" and taken.tokens == {"Bearer hf_secret"}


@pytest.mark.slow
def test_somebody_may_know_better(shipment: Shipment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with taking() as taken:
        on(taken, monkeypatch, tmp_path / "home")
        hub.upload(forbidden(shipment), repo=REPO, private=False, accepts_licence=True)
    assert "README.md" in taken.files


@pytest.mark.slow
def test_a_refusal_is_one_line(shipment: Shipment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with taking(refuses=403) as taken:
        on(taken, monkeypatch, tmp_path / "home")
        with pytest.raises(Error, match="the Hub did not take it: ") as caught:
            hub.upload(shipment, repo=REPO, private=False, accepts_licence=False)
    assert "\n" not in str(caught.value) and "hf_secret" not in str(caught.value)


@pytest.mark.slow
def test_a_hub_that_is_not_there_is_one_line(
    shipment: Shipment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with taking() as taken:
        on(taken, monkeypatch, tmp_path / "home")
    with pytest.raises(Error, match=r"^the Hub cannot be reached \(ConnectionError\)$"):  # it has gone by now
        hub.upload(shipment, repo=REPO, private=False, accepts_licence=False)


@pytest.mark.slow
def test_offline_is_one_line(shipment: Shipment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Error, match="the Hub did not take it: "):
        hub.upload(shipment, repo=REPO, private=False, accepts_licence=False)
