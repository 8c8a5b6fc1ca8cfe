"""Environments of their own for peers that cannot live in this project's."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"  # installed first, by itself: TORCH_ARGS may name an index that has a CPU build and little else


def python(venv: Path, packages: Sequence[str], *, pins: str, name: str) -> str:
    """The interpreter of the environment `venv`, made where it is not there; `pins` as lines of a constraints file."""
    stamp = venv / f"stamp-{name}"
    if not stamp.exists():
        print(f"makes {venv} with {name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        constraints = venv / "constraints.txt"
        constraints.write_text(pins, encoding="utf-8")
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "--no-deps", *os.environ.get("TORCH_ARGS", "").split(), TORCH], check=True)
        subprocess.run([*pip, "-c", str(constraints), TORCH, *packages], check=True)
        stamp.touch()
    return str(venv / "bin" / "python")


def pins(*files: str) -> str:
    """The lines of constraints files of this project; a later file's pin stands in for an earlier one's."""
    found: dict[str, str] = {}
    for file in files:
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        found |= {line.partition("==")[0]: line for line in lines if "==" in line and not line.startswith("#")}
    return "\n".join(found.values()) + "\n"
