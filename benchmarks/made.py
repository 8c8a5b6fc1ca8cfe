"""Artifacts made by `edgequant convert`, and what making each of them took."""

import json
import os
import subprocess
import sys
import tempfile
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


def make(checkpoint: Path, name: str, run: Path) -> Made | str:
    """Make the format in the folder `run`, unchecked; where that fails, what was said of it."""
    wanted = ["--formats", name, "--out", str(run), "--no-verify", "--keep-intermediate"]
    seconds, peak, said = _spent([sys.executable, "-P", "-c", _CONVERT, "-q", "convert", str(checkpoint), *wanted])
    for file in (run / "artifacts").glob(f"*{MANIFEST_SUFFIX}"):
        artifact = read_manifest(file.with_name(file.name.removesuffix(MANIFEST_SUFFIX)))
        if artifact.format == name:
            return Made(path=Path(artifact.path), size_bytes=artifact.size_bytes, seconds=seconds, peak_bytes=peak)
    return next((line for line in reversed(said.splitlines()) if line.strip()), "nothing was made")


def _spent(command: list[str]) -> tuple[float, int, str]:
    os.sync()
    wrapper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("spent.py")), *command]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        done = subprocess.run(wrapper, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
        log.seek(0)
        spent = json.loads(done.stdout)
        return spent["seconds"], spent["peak_bytes"], log.read()
