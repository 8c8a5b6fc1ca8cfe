"""Speed of GGUF files as `edgequant profile` measures it, beside llama-bench over the very libllama that is installed.

    python benchmarks/speed.py [--run FOLDER] [--formats F16,Q8_0,Q4_K_M] [--pairs N]

See benchmarks/README.md for what is compared and how to read the table.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import peer_llama_bench
import quiet
from peer_llama_bench import Lengths

from edgequant import child
from edgequant.profiles.machine.host import machine
from edgequant.profiles.records.run_folder import RunFolder
from edgequant.runtimes.session import Settings

T = TypeVar("T")
TARGET = 0.98
QUIET_SECONDS, PATIENCE_SECONDS = 3.0, 120.0
#: a side is disturbed where others used a core, or something waited for one, for more than this share of its time
OTHERS_AT_MOST, WAITED_AT_MOST = 0.05, 0.05
PHASES = ("prefill", "decode")
_PRESSURE = Path("/proc/pressure/cpu")


@dataclass(kw_only=True)
class Pairs:
    """Ratios, ours to the peer's, of pairs in which neither side was disturbed; speeds of both beside them.

    `started_busy` counts pairs of either kind before which the machine did not come to rest.
    """

    ratios: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    ours: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    theirs: dict[str, list[float]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    dropped: int = 0
    started_busy: int = 0

    def add(self, ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> None:
        """Take in one pair: the median of each side's repetitions."""
        for phase in PHASES:
            mine, other = statistics.median(ours[phase]), statistics.median(theirs[phase])
            self.ours[phase].append(mine)
            self.theirs[phase].append(other)
            self.ratios[phase].append(mine / other)


def main() -> None:
    """Build the peer, take the pairs of each format, print a line for each phase."""
    options = _options()
    options.cache.mkdir(parents=True, exist_ok=True)
    bench = peer_llama_bench.program(options.cache)
    threads = options.threads or machine().threads
    lengths = Lengths(n_prompt=256, n_generate=64, repetitions=options.repetitions, threads=threads)
    print(f"{machine().cpu}, {threads} threads, prefill of {lengths.n_prompt}, then decode of {lengths.n_generate}")
    print(f"{'':10}{'':9}{'ours/s':>9}{'peer/s':>9}{'ratio':>8}  {'spread':17}{'pairs':>6}  target {TARGET}")
    for name in options.formats.split(","):
        pairs = _pairs(_file(options.run, name), bench, lengths, n=options.pairs)
        for phase in PHASES:
            print(_line(name, phase, pairs), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/demo"), help="a run with the formats [runs/demo]")
    parser.add_argument("--formats", default="F16,Q8_0,Q4_K_M", help="[F16,Q8_0,Q4_K_M]")
    parser.add_argument("--pairs", type=int, default=30, help="undisturbed pairs of each format [30]")
    parser.add_argument(
        "--repetitions",
        type=int,
        default=5,
        help="repetitions of a side in each pair, as llama-bench has by default [5]",
    )
    parser.add_argument("--threads", type=int, default=0, help="[all physical cores]")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgequant-benchmarks"
    parser.add_argument("--cache", type=Path, default=cache, help=f"where the peer is built once [{cache}]")
    return parser.parse_args()


def _file(run: Path, name: str) -> Path:
    folder = RunFolder(run)
    made = folder.made(revision=folder.open()["checkpoint"]["revision"])
    found = next((Path(each.path) for each in made if each.format == name), None)
    if found is None or not found.is_file():
        raise SystemExit(f"{run} has no {name}: edgequant convert demo --formats {name} --out {run}")
    return found


def _pairs(model: Path, bench: Path, lengths: Lengths, *, n: int) -> Pairs:
    """Pairs in turns, the first side changing each time, until `n` are undisturbed or twice as many were taken."""
    sides: dict[str, Callable[[], dict[str, list[float]]]] = {
        "ours": lambda: _ours(model, lengths),
        "theirs": lambda: peer_llama_bench.speeds(bench, model, lengths),
    }
    pairs = Pairs()
    for side in sides.values():
        side()  # the file comes into the page cache
    for number in range(2 * n):
        is_quiet = quiet.wait(seconds=QUIET_SECONDS if number == 0 else 1.0, patience=PATIENCE_SECONDS)
        if not is_quiet and number == 0:
            raise SystemExit(f"other processes kept the machine busy for {PATIENCE_SECONDS:.0f} s: try again later")
        pairs.started_busy += not is_quiet
        found, disturbed = {}, False
        for name in sorted(sides, reverse=bool(number % 2)):
            found[name], beside = _watched(sides[name])
            disturbed = disturbed or beside
        if disturbed:
            pairs.dropped += 1
        else:
            pairs.add(found["ours"], found["theirs"])
        if len(pairs.ratios["decode"]) == n:
            break
    return pairs


def _ours(model: Path, lengths: Lengths) -> dict[str, list[float]]:
    """The child that `edgequant profile` starts, with the same job."""
    context = lengths.n_prompt + lengths.n_generate
    job = {"container": "gguf", "path": str(model), "seed": 0, "n_prompt": lengths.n_prompt}
    job |= {"n_generate": lengths.n_generate, "repetitions": lengths.repetitions}
    job |= {"settings": Settings(threads=lengths.threads, context=context).to_json()}
    samples = child.run("edgequant.profiles.measuring.speed:measure", job).unwrap()["samples"]
    return {phase: samples[f"{phase}_tokens_per_second"] for phase in PHASES}


def _watched(work: Callable[[], T]) -> tuple[T, bool]:
    """What `work` returned, and whether other processes were in its way, or it in theirs."""
    before = _spent()
    done = work()
    wall, used, own, waited = (b - a for a, b in zip(before, _spent(), strict=True))
    return done, used - own > OTHERS_AT_MOST * wall or waited > WAITED_AT_MOST * wall


def _spent() -> tuple[float, float, float, float]:
    """Seconds: of the clock, of all cores at work, of this process and its children, of anything waiting for a core.

    The last is the kernel's pressure stall information (Documentation/accounting/psi.rst), 0 where there is none.
    """
    now = os.times()
    pressure = _PRESSURE.read_text() if _PRESSURE.exists() else "total=0"
    waited = int(pressure.splitlines()[0].rpartition("total=")[2]) / 1e6
    return now.elapsed, quiet.used_seconds(), sum(now[:4]), waited


def _line(name: str, phase: str, pairs: Pairs) -> str:
    ratios = sorted(pairs.ratios[phase])
    if not ratios:
        return f"{name:10}{phase:9} no undisturbed pair of {pairs.dropped}"
    ratio, n = statistics.median(ratios), len(ratios)
    ours, theirs = (statistics.median(side[phase]) for side in (pairs.ours, pairs.theirs))
    spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
    verdict = "reached" if ratio >= TARGET else "MISSED"
    dropped = f" (-{pairs.dropped})" if pairs.dropped else ""
    busy = f", {pairs.started_busy} began on a busy machine" if pairs.started_busy else ""
    return f"{name:10}{phase:9}{ours:9.1f}{theirs:9.1f}{ratio:8.3f}  {spread:17}{n:6}{dropped}  {verdict}{busy}"


if __name__ == "__main__":
    sys.exit(main())
