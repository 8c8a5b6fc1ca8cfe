"""On the machine that builds: runs of the pocket model, a bundle for each board, and this machine's figures on them.

prepare.py WORK BOARD:PROCESSOR:ARCHITECTURE...
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from edgequant.export import wheelhouse
from edgequant.export.target import target_of
from edgequant.profiles import device

ROOT = Path(__file__).parents[2]
POCKET = ROOT / "tests/pocket"
FORMATS = "Q8_0,Q4_K_M,Q4_0,onnx-int8,onnx-w8a8"
EVERY, CONTEXT = 7, 160  # of the tasks' items, and tokens (so windows are short): emulation is slow
PYTHON = "3.11"  # of Debian 12
#: every board that each build has to serve, by the profiles' names
SERVED = {
    "armv8-a": ("rpi3b-plus", "rpi-zero2w", "rpi4-1gb", "rpi4-2gb", "rpi4-4gb", "rpi4-8gb"),
    "armv8.2-a+dotprod+fp16": ("rpi5-2gb", "rpi5-4gb", "rpi5-8gb", "rpi5-16gb"),
}


def edgequant(*words: object) -> None:
    """Run the command line; what it says goes to the log."""
    print("$ edgequant", *words, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "edgequant.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def made(work: Path, board: str, architecture: str) -> None:
    """The run that a build's boards share, the board's bundle, and the run's figures on this machine from a bundle."""
    run = work / architecture / "run"
    if not run.exists():
        items = [line for n, line in enumerate((POCKET / "items.jsonl").open(encoding="utf-8")) if n % EVERY == 0]
        tasks = work / "items.jsonl"
        tasks.write_text("".join(items), encoding="utf-8")
        edgequant(
            "run",
            POCKET / "model",
            "--formats",
            FORMATS,
            "--device",
            board,
            "--context",
            CONTEXT,
            "--task",
            tasks,
            "--out",
            run,
        )
        edgequant("bundle", run, "-o", work / architecture / "here.tar")
        edgequant("evaluate", work / architecture / "here.tar", "--out", work / architecture / "here")
    bundle = work / f"{board}.tar"
    edgequant("bundle", run, "--device", board, "--python", PYTHON, "-o", bundle)
    folder = work / board
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(bundle) as archive:
        archive.extractall(work, filter="data")
    shutil.copytree(run, folder / "gate", ignore=shutil.ignore_patterns("scratch"))


def choices() -> dict[str, str]:
    """What llama-cpp-python is compiled for on each board, as the profile decides it."""
    return {name: target_of(device.load(name)).architecture for names in SERVED.values() for name in names}


def main() -> None:
    """Make everything anew but for the wheels, which are kept."""
    work = Path(sys.argv[1])
    for entry in work.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    print(f"wheels are kept in {wheelhouse.cache_folder()}")
    for each in sys.argv[2:]:
        board, _, architecture = each.split(":")
        made(work, board, architecture)
    wheels = {
        board: sorted(path.name for path in (work / board / "wheels").glob("*.whl"))
        for board in (each.split(":")[0] for each in sys.argv[2:])
    }
    (work / "prepared.json").write_text(json.dumps({"choices": choices(), "wheels": wheels}), encoding="utf-8")


if __name__ == "__main__":
    main()
