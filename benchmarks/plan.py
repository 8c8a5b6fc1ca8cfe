"""What `edgequant plan` predicts beside what is measured here, and beside speeds that others published.

    .venv/bin/python benchmarks/plan.py [--published] [--folder FOLDER] [--models smollm2,llama8]

Probes this machine (a minute), makes every default format of two models, measures each, and prints both sides. Timings
mean something on an idle machine alone; `--published` needs no machine at all. Nothing is asserted.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import checkpoints
import foretold
import quiet

from edgequant import child
from edgequant.convert.artifact import Artifact
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.conversion import Workshop, convert
from edgequant.convert.formats import DEFAULT_FORMATS, FORMATS, Format
from edgequant.convert.makers import with_sources
from edgequant.profiles.device import Device
from edgequant.profiles.planning import plan as planning
from edgequant.profiles.planning.prediction import ANSWER_TOKENS, PROMPT_TOKENS
from edgequant.profiles.probing.probe import probe
from edgequant.runtimes.session import Settings

_LAYERS = 8  # of the larger model: 749 million weights
_REPETITIONS = 6
_LAST = 8  # tokens of a full context that are decoded


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one artifact: bytes, peak memory by context in bytes, tokens/s, and seconds to load."""

    size_bytes: int
    peaks: Mapping[int, int]
    decode: float
    prefill: float
    load: float
    seconds: float


class _Patience:
    """How long an idle machine is waited for."""

    seconds = 120.0


def main() -> None:
    """Parse the command line and print the tables."""
    arguments = _arguments()
    print(f"Published speeds, from configuration and profile alone\n\n{foretold.table()}\n")
    if arguments.published:
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        device = _probed(folder)
        contexts = [int(n) for n in arguments.contexts.split(",")]
        for name in arguments.models.split(","):
            made, measured = _measured(folder, name, device, contexts)
            plans = {n: _plan(folder / name, device, n) for n in contexts}
            print("\n".join(_table(name, plans, measured, [each.format for each in made])), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", action="store_true", help="only what others published")
    parser.add_argument("--folder", type=Path, help="keep checkpoints, artifacts, probe and measurements here")
    parser.add_argument("--models", default="smollm2,llama8")
    parser.add_argument("--hurry", action="store_true", help="do not wait until the machine is idle")
    parser.add_argument("--contexts", default="512,1024,2048", help="at which memory is measured, with the cache full")
    arguments = parser.parse_args()
    _Patience.seconds = 0.0 if arguments.hurry else _Patience.seconds
    if arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    return arguments


def _probed(folder: Path) -> Device:
    """This machine, probed once for a folder."""
    from edgequant.profiles.device import from_json

    kept = folder / "probe.json"
    if not kept.exists():
        _wait("the probe")
        found = probe(progress=lambda text: None).device
        kept.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return from_json(json.loads(kept.read_text(encoding="utf-8")))


def _wait(what: str) -> None:
    if not quiet.wait(seconds=3, patience=_Patience.seconds):
        print(f"the machine was busy when {what} began")


def _checkpoint(folder: Path, name: str) -> Path:
    small = checkpoints.make_small(folder / "smollm2")
    return small if name == "smollm2" else checkpoints.make_llama(folder / name, small, layers=_LAYERS)


def _measured(
    folder: Path, name: str, device: Device, contexts: Sequence[int]
) -> tuple[list[Artifact], dict[str, Measured]]:
    """Every default format, and what was measured of each; what the folder has of both is taken up."""
    checkpoint = open_folder(_checkpoint(folder, name))
    workshop = Workshop(folder=folder / f"{name}-artifacts", threads=device.decode_threads)
    workshop.folder.mkdir(exist_ok=True)
    chosen = [FORMATS[each] for each in DEFAULT_FORMATS]
    artifacts = {fmt.name: convert(checkpoint, fmt, workshop) for fmt in with_sources(checkpoint, chosen)}
    kept = folder / f"{name}-measured.json"
    known: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for fmt in chosen:
        if fmt.name not in known:
            known[fmt.name] = asdict(_measure(artifacts[fmt.name], device, contexts))
            kept.write_text(json.dumps(known), encoding="utf-8")
    found = {
        key: Measured(**{**row, "peaks": {int(n): peak for n, peak in row["peaks"].items()}})
        for key, row in known.items()
    }
    return [artifacts[fmt.name] for fmt in chosen], found


def _measure(artifact: Artifact, device: Device, contexts: Sequence[int]) -> Measured:
    peaks = {}
    for context in contexts:
        lengths = {"n_prompt": context - _LAST, "n_generate": _LAST, "repetitions": 1}
        peaks[context] = int(_samples(artifact, device, context, lengths)["peak_rss_bytes"][0])
    _wait(artifact.format)
    usual = {"n_prompt": PROMPT_TOKENS, "n_generate": ANSWER_TOKENS, "repetitions": _REPETITIONS}
    speed = _samples(artifact, device, 2048, usual)
    return Measured(
        size_bytes=artifact.size_bytes,
        peaks=peaks,
        decode=median(speed["decode_tokens_per_second"]),
        prefill=median(speed["prefill_tokens_per_second"]),
        load=speed["load_seconds"][0],
        seconds=artifact.seconds,
    )


def _samples(artifact: Artifact, device: Device, context: int, lengths: Mapping[str, int]) -> dict[str, list[float]]:
    settings = Settings(threads=device.decode_threads, context=context).to_json()
    job = {"container": artifact.container, "path": artifact.path, "settings": settings, "seed": 0, **lengths}
    found: dict[str, list[float]] = child.run("edgequant.profiles.measuring.speed:measure", job).unwrap()["samples"]
    return found


def _plan(folder: Path, device: Device, context: int) -> planning.Plan:
    checkpoint = open_folder(folder, revision="sha256:" + 64 * "0")
    chosen: list[Format] = [FORMATS[each] for each in DEFAULT_FORMATS]
    return planning.plan(checkpoint, chosen, device, context=context)


def _table(
    name: str, plans: Mapping[int, planning.Plan], measured: Mapping[str, Measured], formats: Sequence[str]
) -> Iterator[str]:
    """A line a format, then the targets."""
    first, *_, last = plans
    yield f"\n{name}: measured, and predicted against it"
    yield (
        f"{'':11}{'file':>10}{'off':>5}{'peak MB at ' + str(last):>16}{'':>7}{'decode/s':>10}{'':>6}{'in':>3}"
        f"{'prefill/s':>11}{'':>6}{'in':>3}{'load s':>8}{'':>6}{'made in s':>10}{'':>6}"
    )
    errors: dict[str, list[float]] = {"decode": [], "prefill": []}
    sizes, peaks = [], []
    for format_name in formats:
        real = measured[format_name]
        foretold_ = {n: next(f for f in p.formats if f.format == format_name) for n, p in plans.items()}
        told = foretold_[last]
        assert told.decode_tokens_per_second and told.prefill_tokens_per_second and told.peak_memory_bytes
        decode = told.decode_tokens_per_second / real.decode - 1
        prefill = told.prefill_tokens_per_second / real.prefill - 1
        errors["decode"].append(abs(decode))
        errors["prefill"].append(abs(prefill))
        sizes.append(told.size_bytes - real.size_bytes)
        for n, each in foretold_.items():
            off = (each.peak_memory_bytes or 0) - real.peaks[n]
            peaks.append((abs(off) <= max(30e6, 0.05 * real.peaks[n]), off / real.peaks[n]))
        off = told.peak_memory_bytes / real.peaks[last] - 1
        yield (
            f"{format_name:11}{real.size_bytes / 1e6:>7.1f} MB{sizes[-1]:>5}{real.peaks[last] / 1e6:>16.1f}{off:>+7.1%}"
            f"{real.decode:>10.1f}{decode:>+6.0%}{_inside(told, 'decode', real.decode):>3}"
            f"{real.prefill:>11.1f}{prefill:>+6.0%}{_inside(told, 'prefill', real.prefill):>3}"
            f"{real.load:>8.2f}{(told.load_seconds or 0):>6.2f}"
            f"{real.seconds:>10.1f}{(told.conversion_seconds or 0):>6.1f}"
        )
    yield from _verdicts(errors, sizes, peaks)
    yield from _caches(plans, measured, formats, (first, last))


def _inside(told: planning.PlannedFormat, metric: str, real: float) -> str:
    name = f"{metric}_tokens_per_second"
    return "*" if getattr(told, f"{name}_low") <= real <= getattr(told, f"{name}_high") else "-"


def _verdicts(
    errors: Mapping[str, Sequence[float]], sizes: Sequence[int], peaks: Sequence[tuple[bool, float]]
) -> Iterator[str]:
    yield f"files: {'exact' if not any(sizes) else 'OFF by up to ' + str(max(map(abs, sizes))) + ' bytes'}"
    yield (
        f"peak memory within 5 % or 30 MB: {sum(ok for ok, _ in peaks)} of {len(peaks)}, "
        f"from {min(off for _, off in peaks):+.1%} to {max(off for _, off in peaks):+.1%}"
    )
    for metric, limit in (("decode", 0.2), ("prefill", 0.3)):
        middle, worst = median(errors[metric]), max(errors[metric])
        verdict = "reached" if middle <= limit and worst <= 0.4 else "MISSED"
        yield f"{metric}: median error {middle:.0%} (at most {limit:.0%}), worst {worst:.0%} (at most 40%): {verdict}"


def _caches(
    plans: Mapping[int, planning.Plan], measured: Mapping[str, Measured], formats: Sequence[str], ends: tuple[int, int]
) -> Iterator[str]:
    """How memory grows with the context: key/value cache and what else does."""
    least, most = ends
    for format_name in formats[:1] + formats[-1:]:
        told = {n: next(f for f in plans[n].formats if f.format == format_name) for n in ends}
        real = (measured[format_name].peaks[most] - measured[format_name].peaks[least]) / (most - least)
        grown = ((told[most].peak_memory_bytes or 0) - (told[least].peak_memory_bytes or 0)) / (most - least)
        cache = (told[most].memory["key/value cache"] - told[least].memory["key/value cache"]) / (most - least)
        yield (
            f"{format_name}: memory grows by {real / 1e3:.1f} kB a token from {least} to {most}; predicted "
            f"{grown / 1e3:.1f} kB, of which {cache / 1e3:.1f} kB keys and values"
        )


if __name__ == "__main__":
    main()
