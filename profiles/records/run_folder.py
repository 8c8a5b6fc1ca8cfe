"""The folder of one run: where its parts lie, and run.json, which says what was asked and what was found."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import Error
from ...convert.artifact import MANIFEST_SUFFIX, Artifact, read_manifest
from ...convert.atomic import write_text
from .store import Store

SCHEMA = 1


class RunFolder:
    """Paths of a run, and its description."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path / "source"  # a checkpoint that was made from a GGUF
        self.artifacts = path / "artifacts"
        self.scratch = path / "scratch"  # the reference's logits: large, and removed at the end
        self.unfinished = path / "unfinished"  # what evaluations that did not end had finished
        self.prepared = path / "prepared.json"  # text and items as token ids
        self.compact = path / "reference.npz"  # the reference's log-probabilities for a bundle
        self.others = path / "others.jsonl"  # rows that other machines measured of these artifacts
        self.results = path / "results.jsonl"
        self.description = path / "run.json"

    def check(self) -> None:
        """Raise `Error` where something else than a run lies, before anything is spent on it."""
        known = {part.name for part in vars(self).values()} | {"report.md", "report.json", "report.html"}
        if self.path.is_dir() and {entry.name for entry in self.path.iterdir()} - known:
            raise Error(f"{self.path} holds something else than a run", hint="choose another --out")

    def discard_empty(self) -> None:
        """Remove the folder where a refused source left nothing but empty folders in it."""
        for folder in (self.source, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def create(self) -> None:
        """Make the folder; `Error` where that cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Error(f"cannot make the folder {self.path}: {error.strerror}", hint="choose another --out") from None
        if not os.access(self.path, os.W_OK):
            raise Error(f"the folder {self.path} is not writable", hint="choose another --out")

    def open(self) -> dict[str, Any]:
        """The description of an existing run; `Error` for a folder that holds none."""
        if not self.description.is_file():
            raise Error(f"{self.path} holds no run", hint="make one with: edgequant run MODEL --out " + str(self.path))
        try:
            values: dict[str, Any] = json.loads(self.description.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Error(f"{self.description} is no valid JSON: {error}") from None
        if values.get("schema") != SCHEMA:
            raise Error(f"{self.description} has schema {values.get('schema')}, this version reads {SCHEMA}")
        return values

    def describe(self, values: Mapping[str, Any]) -> None:
        """Write or extend the description."""
        known = self.open() if self.description.is_file() else {"schema": SCHEMA}
        write_text(self.description, json.dumps({**known, **values}, indent=2) + "\n")

    def store(self) -> Store:
        """The rows measured so far."""
        return Store(self.results)

    def made(self, *, revision: str) -> list[Artifact]:
        """Artifacts of these weights that have a manifest here, those that were removed after the run among them."""
        manifests = sorted(self.artifacts.glob(f"*{MANIFEST_SUFFIX}"))
        found = [read_manifest(file.with_name(file.name.removesuffix(MANIFEST_SUFFIX))) for file in manifests]
        return [artifact for artifact in found if artifact.checkpoint_revision == revision]
