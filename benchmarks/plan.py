"""What `edgequant plan` predicts beside what is measured here, and beside speeds that others published.

    .venv/bin/python benchmarks/plan.py [--published] [--folder FOLDER] [--models smollm2,llama8]

Probes this machine (a minute), makes every default format of two models with `edgequant convert`, measures each, and
prints both sides. Timings mean something on an idle machine alone; `--published` needs no machine at all. Nothing is
asserted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import checkpoints
import foretold
import quiet
from converted import convert_all
from plan_table import Compared, Measured, table

from edgequant import child
from edgequant.convert.artifact import Artifact
from edgequant.convert.checkpoint import open_folder
from edgequant.convert.formats import DEFAULT_FORMATS, FORMATS, Format
from edgequant.convert.inspection import count_onnx, inspect_gguf
from edgequant.convert.onnx_header import read_header
from edgequant.profiles.device import Device
from edgequant.profiles.planning import plan as planning
from edgequant.profiles.planning.prediction import ANSWER_TOKENS, PROMPT_TOKENS
from edgequant.profiles.probing.probe import probe
from edgequant.runtimes.session import Settings

_LAYERS = 8  # of the larger model: 749 million weights
_REPETITIONS = 6
_LAST = 8  # tokens of a full context that are decoded


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
            print(table(_compared(folder, name, device, contexts)), flush=True)


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


def _compared(folder: Path, name: str, device: Device, contexts: Sequence[int]) -> Compared:
    """Every default format, made and measured; what the folder has of both is taken up."""
    checkpoint = _checkpoint(folder, name)
    artifacts, converted = convert_all(checkpoint, DEFAULT_FORMATS, folder / f"{name}-run")
    kept = folder / f"{name}-measured.json"
    known: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for artifact in artifacts:
        for key, value in _missing(artifact, known.get(artifact.format, {}), device, contexts):
            known.setdefault(artifact.format, {})[key] = value
            kept.write_text(json.dumps(known), encoding="utf-8")
    return Compared(
        name=name,
        plans={n: _plan(checkpoint, device, n) for n in contexts},
        measured={each.format: _read(each, known[each.format], contexts) for each in artifacts},
        converted=converted,
    )


def _missing(
    artifact: Artifact, known: Mapping[str, Any], device: Device, contexts: Sequence[int]
) -> Iterator[tuple[str, Any]]:
    """What is to be known of an artifact and is not: (what, its figures)."""
    for n in contexts:
        if f"peak {n}" not in known:
            lengths = {"n_prompt": n - _LAST, "n_generate": _LAST, "repetitions": 1}
            yield f"peak {n}", int(_samples(artifact, device, n, lengths)["peak_rss_bytes"][0])
        if f"cache {n}" not in known:
            yield f"cache {n}", _cache(artifact, n)
    if "speed" not in known:
        _wait(artifact.format)
        usual = {"n_prompt": PROMPT_TOKENS, "n_generate": ANSWER_TOKENS, "repetitions": _REPETITIONS}
        yield "speed", _samples(artifact, device, 2048, usual)


def _read(artifact: Artifact, known: Mapping[str, Any], contexts: Sequence[int]) -> Measured:
    speed = known["speed"]
    path = Path(artifact.path)
    contents = inspect_gguf(path) if artifact.container == "gguf" else count_onnx(read_header(path / "model.onnx"))
    return Measured(
        size_bytes=artifact.size_bytes,
        tensor_bytes=contents.n_bytes,
        peaks={n: known[f"peak {n}"] for n in contexts},
        caches={n: known[f"cache {n}"] for n in contexts},
        decode=median(speed["decode_tokens_per_second"]),
        prefill=median(speed["prefill_tokens_per_second"]),
        load=speed["load_seconds"][0],
        seconds=artifact.seconds,
    )


def _cache(artifact: Artifact, context: int) -> int:
    """Bytes of keys and values, by the engine's own word."""
    script = str(Path(__file__).with_name("kv_cache.py"))
    command = [sys.executable, "-P", script, artifact.container, artifact.path, str(context)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def _samples(artifact: Artifact, device: Device, context: int, lengths: Mapping[str, int]) -> dict[str, list[float]]:
    settings = Settings(threads=device.decode_threads, context=context).to_json()
    job = {"container": artifact.container, "path": artifact.path, "settings": settings, "seed": 0, **lengths}
    found: dict[str, list[float]] = child.run("edgequant.profiles.measuring.speed:measure", job).unwrap()["samples"]
    return found


def _plan(folder: Path, device: Device, context: int) -> planning.Plan:
    checkpoint = open_folder(folder, revision="sha256:" + 64 * "0")
    chosen: list[Format] = [FORMATS[each] for each in DEFAULT_FORMATS]
    return planning.plan(checkpoint, chosen, device, context=context)


if __name__ == "__main__":
    main()
