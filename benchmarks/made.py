"""Artifacts made by `edgequant convert` or by a peer, and what making each of them took."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgequant.convert.artifact import MANIFEST_SUFFIX, read_manifest

_CONVERT = "from edgequant.cli import main; main()"


@dataclass(frozen=True, kw_only=True)
class Made:
    """One artifact; `peak_bytes` is the resident memory of the largest process that took part in making it."""

    path: Path
    size_bytes: int
    seconds: float
    peak_bytes: int


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a command took, and what it printed."""

    seconds: float
    peak_bytes: int
    exit_code: int
    said: str


def make(checkpoint: Path, name: str, folder: Path) -> Made | str:
    """Make the format in the run `folder`, unchecked; where that fails, what was said of it."""
    wanted = ["--formats", name, "--out", str(folder), "--no-verify", "--keep-intermediate"]
    spent = run([sys.executable, "-P", "-c", _CONVERT, "-q", "convert", str(checkpoint), *wanted])
    for file in (folder / "artifacts").glob(f"*{MANIFEST_SUFFIX}"):
        artifact = read_manifest(file.with_name(file.name.removesuffix(MANIFEST_SUFFIX)))
        if artifact.format == name:
            return _made(Path(artifact.path), artifact.size_bytes, spent)
    return next((line for line in reversed(spent.said.splitlines()) if line.strip()), "nothing was made")


def make_by(command: Sequence[str], folder: Path) -> Made:
    """What a peer's command writes to `folder`; its size is that of the graph and its weights."""
    spent = run(command)
    if spent.exit_code:
        raise SystemExit(f"{list(command)} failed:\n{spent.said[-3000:]}")
    return _made(folder, sum(file.stat().st_size for file in folder.glob("*.onnx*")), spent)


def _made(path: Path, size_bytes: int, spent: Spent) -> Made:
    return Made(path=path, size_bytes=size_bytes, seconds=spent.seconds, peak_bytes=spent.peak_bytes)


def run(command: Sequence[str]) -> Spent:
    """Run a command to its end, after what earlier ones wrote has reached the disk."""
    os.sync()
    wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("spent.py")), *command]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        done = subprocess.run(wrapper, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
        log.seek(0)
        figures = json.loads(done.stdout)
        del figures["cpu_seconds"]
        return Spent(**figures, said=log.read())
