"""Evaluation beside lm-evaluation-harness and llama-perplexity in one run: speed, outcomes, divergence, memory.

    python benchmarks/accuracy.py [--parts items,divergence,quick] [--rounds N] [--quick]

See benchmarks/README.md for what is compared and how to read the tables.
"""

import argparse
import importlib.metadata
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import against_harness
import against_perplexity
import harness_environment
import llama_tools
import quick_suite
from ours import Ours, say
from targets import Row

from edgequant.convert import demo, gguf_source

HERE = Path(__file__).parent
PARTS = ("items", "divergence", "quick")
TRIAL = 0.1  # of the items, with --quick


def main() -> None:
    """Make the checkpoint, compare, print a line as soon as it is known, remove what was made."""
    sys.path[:] = [entry for entry in sys.path if Path(entry) != HERE]  # onnx.py here must not stand in for the package
    options = _options()
    with tempfile.TemporaryDirectory(prefix="edgequant-benchmark-", dir=options.work) as folder:
        work = Path(folder)
        say("makes the checkpoint")
        # As `edgequant run demo` takes it.
        gguf_source.dequantise(demo.find(), work / "SmolLM2", rescale=True)
        ours = Ours(checkpoint=work / "SmolLM2", folder=work, threads=options.threads, repack=not options.no_repack)
        print(_machine(options.threads))
        print(f"{'':60}{'ours':>12}{'beside':>12}{'figure':>9}  {'(spread)':18}target", flush=True)
        for part in options.parts.split(","):
            for row in _part(part, ours, work, options):
                print(row if isinstance(row, str) else _line(row), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} [all]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every side [3]")
    parser.add_argument("--windows", type=int, default=16, help="of 512 tokens, for the divergence [16]")
    parser.add_argument("--formats", default="Q8_0,Q4_K_M", help="whose divergence is measured [Q8_0,Q4_K_M]")
    parser.add_argument("--suite-formats", default="F16,Q4_K_M,onnx-int8", help="[F16,Q4_K_M,onnx-int8]")
    parser.add_argument("--batches", default="1,8", help="batch sizes of the harness; targets are against the first")
    parser.add_argument("--venv", type=Path, help=f"environment of the harness [${harness_environment.VARIABLE}]")
    parser.add_argument("--without-harness", action="store_true", help="leave that peer out")
    parser.add_argument("--work", type=Path, help="where 2 GB of files are made and removed [the temporary folder]")
    parser.add_argument("--threads", type=int, default=2, help="of every engine [2]")
    parser.add_argument("--no-repack", action="store_true", help="llama.cpp without repacked and AMX kernels")
    parser.add_argument("--quick", action="store_true", help="one round, few items: whether everything runs")
    cache = llama_tools.CACHE
    parser.add_argument("--cache", type=Path, default=cache, help=f"where llama-perplexity is built once [{cache}]")
    options = parser.parse_args()
    options.venv = None if options.without_harness else harness_environment.find(options.venv)
    if options.quick:
        options.rounds, options.windows = 1, 2
    return options


def _part(part: str, ours: Ours, work: Path, options: argparse.Namespace) -> Iterator[Row | str]:
    if part == "items":
        yield from against_harness.compare(
            ours,
            work,
            venv=options.venv,
            batches=[int(size) for size in options.batches.split(",")],
            n_rounds=options.rounds,
            share=TRIAL if options.quick else 1.0,
        )
    elif part == "divergence":
        yield from against_perplexity.compare(
            ours,
            work,
            cache=options.cache,
            formats=options.formats.split(","),
            n_windows=options.windows,
            n_rounds=options.rounds,
        )
    elif part == "quick":
        formats = options.suite_formats.split(",")
        yield from quick_suite.rows(ours, work, formats, limit=2 if options.quick else None)
    else:
        raise SystemExit(f"no part {part!r}; there are {', '.join(PARTS)}")


def _line(row: Row) -> str:
    value = "" if math.isnan(row.value) else f"{row.value:.3g}"
    return f"{row.figure:60}{row.ours:>12}{row.peer:>12}{value:>9}  {row.spread:18}{row.target}".rstrip()


def _machine(threads: int) -> str:
    packages = ("llama-cpp-python", "onnxruntime", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    models = {line.split(":")[1].strip() for line in _cpus() if line.startswith("model name")}
    said = f"{os.cpu_count()} cores ({', '.join(models)}), {threads} threads, Python {sys.version.split()[0]}"
    return f"{said}, {versions}; lm-eval {harness_environment.VERSION}"


def _cpus() -> list[str]:
    return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    main()
