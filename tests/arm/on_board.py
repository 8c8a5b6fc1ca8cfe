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
_TAIL = 6000


def step(name: str, command: list[str], *, folder: Path) -> dict[str, Any]:
    """Run one command; its output is shown and kept."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = {"step": name, "code": done.returncode, "seconds": round(time.monotonic() - began, 1)}
    print(f"-- {name}: exit code {found['code']}, {found['seconds']} s", flush=True)
    print((done.stdout if "--json" not in command else "") + done.stderr[-_TAIL:], flush=True)
    return {**found, "stdout": done.stdout, "stderr": done.stderr[-_TAIL:]}


def main() -> None:
    """The steps of one board, in order; those after an installation that failed are left out."""
    work, board = Path(sys.argv[1]), sys.argv[2]
    folder = work / board
    edgequant = str(folder / "venv/bin/edgequant")
    steps = []
    if board != ELSEWHERE:
        steps.append(step("refuses", ["sh", str(work / ELSEWHERE / "install.sh"), "/nowhere"], folder=folder))
    steps.append(step("install", ["sh", "install.sh"], folder=folder))
    if steps[-1]["code"] == 0:
        steps.append(step("doctor", [edgequant, "doctor", "--json"], folder=Path.home()))
        artifacts = folder / "gate/artifacts"
        for artifact in sorted(path for path in artifacts.iterdir() if not path.name.endswith(".json")):
            steps.append(step(f"gate {artifact.name}", [edgequant, "verify", str(artifact), "--json"], folder=folder))
        steps.append(step("profile", [edgequant, "profile", str(folder), "--repetitions", "1"], folder=folder))
        steps.append(step("evaluate", [edgequant, "evaluate", str(folder)], folder=folder))
    (work / f"{board}.json").write_text(json.dumps({"machine": os.uname().machine, "steps": steps}), encoding="utf-8")


if __name__ == "__main__":
    main()
