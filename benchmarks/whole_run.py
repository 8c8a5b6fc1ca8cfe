"""A whole `edgequant run` at a size that people use: how soon there is a pick, how long, and how much it takes.

    python benchmarks/whole_run.py [--model FOLDER] [--small] [--work FOLDER]

Makes a model of Qwen2.5-1.5B's shape with random weights (or takes the checkpoint that is named), converts and measures
ten formats of it on two cores, and prints the times, the memory of the largest process, the disk that was used at most,
and whether the targets were reached. See benchmarks/README.md.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import checkpoints
import llama_tools
import watched
from targets import Row

from edgequant.convert.artifact import MANIFEST_SUFFIX, read_manifest

FORMATS = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K", "onnx-int8", "onnx-w8a8")
N_CORES = 2
PICK_SECONDS, ALL_SECONDS, PEAK_BYTES = 15 * 60.0, 90 * 60.0, 5e9
#: a pick can be defended beside its neighbours and what all are compared with
N_DEFENSIBLE = 4
#: for seeing that everything runs: 43 million weights, nearly all of them in the embedding
SMALL = checkpoints.QWEN | {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
_MAIN = "from edgequant.cli import main; main()"
_PICK = re.compile(r"Pick so far: (\S+), of (\d+) formats")
_STEP = re.compile(r"(convert|verify|profile|look|prepare|evaluate)\s+(\S*).*?\s(\d+\.\d) s\b")


@dataclass(kw_only=True)
class Told:
    """What a run said, and when: seconds since its start."""

    picks: list[tuple[float, str, int]] = field(default_factory=list)  # the time, the format, of how many
    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    exit_code: int = 0

    def hear(self, line: str, at: float) -> None:
        """One line of standard error."""
        if pick := _PICK.match(line):
            self.picks.append((at, pick[1], int(pick[2])))
        elif step := _STEP.match(line):
            self.steps[step[1]].append(float(step[3]))

    @property
    def first_pick(self) -> tuple[float, str]:
        """When the first pick stood beside its neighbours, and which."""
        found = ((at, name) for at, name, of in self.picks if of >= N_DEFENSIBLE)
        return next(found, (float("nan"), "none"))


def main() -> None:
    """Make the checkpoint, run, print the table."""
    options = _options()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:N_CORES])
    with tempfile.TemporaryDirectory(prefix="edgequant-benchmark-", dir=options.work) as work:
        model = options.model or _made(Path(work), small=options.small)
        print(f"{model.name}: {', '.join(options.formats)}; {N_CORES} cores", flush=True)
        out = Path(work) / "run"
        command = [sys.executable, "-P", "-c", _MAIN, "run", str(model), "--formats", ",".join(options.formats)]
        told, seen = _run([*command, "--out", str(out)], [model, out])
        if told.exit_code:
            raise SystemExit(f"the run ended with {told.exit_code}")
        print(
            table(told, seen, sizes(out / "artifacts"), source=watched.used_bytes(model), kept=watched.used_bytes(out))
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a checkpoint [one of Qwen2.5-1.5B's shape, made here]")
    parser.add_argument("--small", action="store_true", help="a model of 43 million weights, to see that it works")
    parser.add_argument("--work", type=Path, help="where up to 18 GB are made and removed [the temporary folder]")
    parser.add_argument("--formats", type=lambda text: text.split(","), default=FORMATS, help="[ten]")
    return parser.parse_args()


def _made(work: Path, *, small: bool) -> Path:
    config = SMALL if small else checkpoints.QWEN
    vocabulary = llama_tools.vocabulary("qwen2", llama_tools.CACHE, work)
    return checkpoints.make_large(work / ("small" if small else "Qwen-1.5B-random"), vocabulary, config=config)


def _run(command: Sequence[str], folders: Sequence[Path]) -> tuple[Told, watched.Watched]:
    """Run to the end, repeating what it says with the time before it."""
    told, began = Told(), time.monotonic()
    os.sync()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with watched.watching(process.pid, folders) as seen:
        for line in process.stderr:
            at = time.monotonic() - began
            told.hear(line, at)
            print(f"{at / 60:6.1f} min  {line}", end="", flush=True)
        told.exit_code = process.wait()
    told.seconds = time.monotonic() - began
    return told, seen


def sizes(artifacts: Path) -> Mapping[str, int]:
    """Format -> bytes of what was made, the files that are gone by now among them."""
    manifests = artifacts.glob(f"*{MANIFEST_SUFFIX}")
    made = [read_manifest(file.with_name(file.name.removesuffix(MANIFEST_SUFFIX))) for file in manifests]
    return {artifact.format: artifact.size_bytes for artifact in made}


def table(told: Told, seen: watched.Watched, made: Mapping[str, int], *, source: int, kept: int) -> str:
    """The targets, then where time and memory went."""
    lines = [f"\n{'':44}{'here':>12}  target"]
    lines += [f"{row.figure:44}{row.ours:>12}  {row.target}".rstrip() for row in rows(told, seen, made, source, kept)]
    lines += ["", "minutes by step:"]
    lines += [f"  {step:10}{sum(each) / 60:8.1f}   {len(each)} times" for step, each in told.steps.items()]
    lines += ["peak memory by process, MB:"]
    ordered = sorted(seen.peaks.items(), key=lambda pair: -pair[1])
    return "\n".join([*lines, *(f"  {name:44}{peak / 1e6:8.0f}" for name, peak in ordered)])


def rows(told: Told, seen: watched.Watched, made: Mapping[str, int], source: int, kept: int) -> Iterator[Row]:
    """The figures beside their targets; `source` and `kept` in bytes, on the disk."""
    at, name = told.first_pick
    yield Row(figure=f"minutes to the first defensible pick ({name})", ours=f"{at / 60:.1f}", value=at / 60,
              at_most=PICK_SECONDS / 60, unit=" min")  # fmt: skip
    final = told.picks[-1][1] if told.picks else "none"
    yield Row(figure=f"minutes to everything (pick {final})", ours=f"{told.seconds / 60:.1f}",
              value=told.seconds / 60, at_most=ALL_SECONDS / 60, unit=" min")  # fmt: skip
    what, peak = seen.largest
    yield Row(figure="GB of the largest process", ours=f"{peak / 1e9:.2f}", value=peak / 1e9, at_most=PEAK_BYTES / 1e9,
              unit=" GB")  # fmt: skip
    yield Row(figure=f"  ({what})", ours="")
    most = source + made.get("F16", 0) + kept
    yield Row(figure="GB of disk at most", ours=f"{seen.disk_bytes / 1e9:.2f}", value=seen.disk_bytes / 1e9,
              at_most=round(most / 1e9, 2), unit=" GB (source, F16 and what is kept)")  # fmt: skip


if __name__ == "__main__":
    main()
