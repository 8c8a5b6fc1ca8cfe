"""On the emulated board, with its own Python alone: install the bundle, then doctor, gate, profile and evaluate.

on_board.py WORK BOARD; what each step said, its exit code and seconds go to WORK/BOARD.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ELSEWHERE = "rpi5-4gb"  # whose bundle a board without dot products has to refuse
GATED = ("model-Q4_K_M.gguf", "model-onnx-int8")
_TAIL = 6000


class Board:
    """The steps of one board as they are done; the file is written after each."""

    def __init__(self, work: Path, name: str) -> None:
        self._file, self._steps = work / f"{name}.json", list[dict[str, Any]]()

    def step(self, name: str, command: list[str], *, folder: Path) -> bool:
        """Run one command; its output is shown and kept. Whether it ended well."""
        began = time.monotonic()
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = {"step": name, "code": done.returncode, "seconds": round(time.monotonic() - began, 1)}
        print(f"-- {name}: exit code {found['code']}, {found['seconds']} s", flush=True)
        print((done.stdout if "--json" not in command else "") + done.stderr[-_TAIL:], flush=True)
        self._steps.append({**found, "stdout": done.stdout, "stderr": done.stderr[-_TAIL:]})
        told = {"processors": len(os.sched_getaffinity(0)), "steps": self._steps}
        self._file.write_text(json.dumps(told), encoding="utf-8")
        return done.returncode == 0


def main() -> None:
    """The steps in order; those after an installation that failed are left out."""
    work, name = Path(sys.argv[1]), sys.argv[2]
    folder, board = work / name, Board(work, name)
    home = Path.home()
    home.mkdir(exist_ok=True)
    if name != ELSEWHERE:
        board.step("refuses", ["sh", str(work / ELSEWHERE / "install.sh"), "/nowhere"], folder=folder)
    if not board.step("install", ["sh", "install.sh"], folder=folder):
        return
    edgequant = str(folder / "venv/bin/edgequant")
    board.step("evaluate", [edgequant, "evaluate", str(folder)], folder=folder)
    board.step("profile", [edgequant, "profile", str(folder), "--repetitions", "1"], folder=folder)
    for artifact in GATED:
        path = str(folder / "gate/artifacts" / artifact)
        board.step(f"gate {artifact}", [edgequant, "verify", path, "--json"], folder=folder)
    board.step("doctor", [edgequant, "doctor", "--json"], folder=home)


if __name__ == "__main__":
    main()
