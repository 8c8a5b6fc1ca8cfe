"""Conversion to F16 GGUF against llama.cpp's own converter: wall time and peak memory, side by side in one run.

    python benchmarks/convert_gguf.py [--peer FOLDER] [--work FOLDER] [--pairs N] [--models small,large]

See benchmarks/README.md for what is compared and how to read the table.
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import checkpoints
import quiet

HERE = Path(__file__).parent
WRITER = "edgequant.convert.gguf_write:write"
#: largest share of the peer's wall time, by model, and largest peak of the child in bytes
WALL_TARGETS = {"small": 0.4, "large": 0.8}
PEAK_TARGET_BYTES = 450 * 10**6
PATIENCE_SECONDS = 10.0
#: the conversion as `edgequant convert` does it, without the checks of the result: both digests, manifest, child
WHOLE = """
import sys
from pathlib import Path
from edgequant.convert.conversion import Workshop, convert
from edgequant.convert.formats import FORMATS
from edgequant.convert.source import open_source
out = Path(sys.argv[2])
convert(open_source(sys.argv[1], workspace=out), FORMATS["F16"], Workshop(folder=out, threads=2))
"""


@dataclass(frozen=True)
class Sample:
    """What one run took; `busy` where other processes were using the machine when it started."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    busy: bool


def main() -> None:
    """Make the checkpoints, run the pairs, print the table, remove what was made."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="edgequant-benchmark-", dir=options.work) as work:
        peer = options.peer or _download(Path(work))
        print(_machine(), flush=True)
        for name in options.models.split(","):
            folder = _checkpoint(name, Path(work), peer)
            samples = _pairs(folder, Path(work), peer, n=options.pairs)
            print(_table(name, samples), flush=True)
            _remove(folder)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="llama.cpp's source [that of the installed llama-cpp-python]")
    parser.add_argument("--work", type=Path, help="where 7 GB of files are made and removed [the temporary folder]")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each converter [5]")
    parser.add_argument("--models", default="small,large", help="small, large or both [both]")
    return parser.parse_args()


def _download(work: Path) -> Path:
    """The source distribution of the llama-cpp-python that is installed; it carries llama.cpp's."""
    version = importlib.metadata.version("llama-cpp-python")
    wanted = ["--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={version}"]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", str(work), *wanted], check=True)
    with tarfile.open(next(work.glob("llama_cpp_python-*.tar.gz"))) as archive:
        archive.extractall(work, filter="data")
    return next(work.glob("llama_cpp_python-*/vendor/llama.cpp"))


def _checkpoint(name: str, work: Path, peer: Path) -> Path:
    if name == "small":
        return checkpoints.make_small(work / name)
    return checkpoints.make_large(work / name, peer / "models" / "ggml-vocab-qwen2.gguf")


def _pairs(folder: Path, work: Path, peer: Path, *, n: int) -> dict[str, list[Sample]]:
    """Interleaved runs; the first round fills the page cache, is compared tensor by tensor and not counted."""
    targets = {name: work / f"{name}.gguf" for name in ("llama.cpp", "edgequant")}
    job = {"folder": str(folder), "target": str(targets["edgequant"]), "format": "F16"}
    job |= {"source": str(folder), "name": folder.name, "revision": "none"}
    converter = [sys.executable, str(peer / "convert_hf_to_gguf.py"), str(folder), "--outtype", "f16"]
    commands = {
        "llama.cpp": ([*converter, "--outfile", str(targets["llama.cpp"])], ""),
        "edgequant": ([sys.executable, "-P", "-m", "edgequant.child", WRITER], json.dumps(job)),
        "with digests": ([sys.executable, "-P", "-c", WHOLE, str(folder), str(work / "run")], ""),
    }
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for round_ in range(n + 1):
        for name in sorted(commands, reverse=bool(round_ % 2)):
            sample = _spent(*commands[name])
            if round_:
                samples[name].append(sample)
                _remove(targets.get(name, work / "run"))
            elif name == "with digests":
                _remove(work / "run")
        if not round_:
            _compare(*targets.values())
            for target in targets.values():
                _remove(target)
    return samples


def _spent(command: Sequence[str], given: str) -> Sample:
    os.sync()  # what the run before wrote is no part of this one
    busy = not quiet.wait(seconds=1.0, patience=PATIENCE_SECONDS)
    with tempfile.TemporaryFile("w+") as log:
        wrapper = [sys.executable, "-I", "-S", str(HERE / "spent.py"), *command]
        done = subprocess.run(wrapper, input=given, stdout=subprocess.PIPE, stderr=log, text=True, check=True)
        spent = json.loads(done.stdout)
        log.seek(0)
        said = log.read()
    if spent["exit_code"] or '{"error"' in said or '{"exception"' in said:
        raise SystemExit(f"{command[:5]} failed:\n{said[-2000:]}")
    return Sample(spent["seconds"], spent["cpu_seconds"], spent["peak_bytes"], busy)


def _compare(theirs: Path, ours: Path) -> None:
    """End here where the two files hold different tensors: it would be no comparison."""
    import gguf
    import numpy as np

    found, expected = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (ours, theirs))
    if found.keys() != expected.keys():
        raise SystemExit(f"different tensors: {sorted(found.keys() ^ expected.keys())[:5]}")
    for name, tensor in expected.items():
        if found[name].tensor_type != tensor.tensor_type or not np.array_equal(found[name].data, tensor.data):
            raise SystemExit(f"the tensor {name} differs")


def _table(name: str, samples: dict[str, list[Sample]]) -> str:
    lines = [f"\n{name}", f"{'':14}{'wall s':>18}{'CPU s':>8}{'peak MB':>9}{'of the wall time':>26}"]
    peers = samples["llama.cpp"]
    for who, taken in samples.items():
        seconds, cpu = sorted(s.seconds for s in taken), statistics.median(s.cpu_seconds for s in taken)
        ratios = sorted(ours.seconds / theirs.seconds for ours, theirs in zip(taken, peers, strict=True))
        wall = f"{statistics.median(seconds):.2f} ({seconds[0]:.2f})"
        peak = f"{max(s.peak_bytes for s in taken) / 1e6:.0f}"
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        mark = f"  {n} of {len(taken)} on a busy machine" if (n := sum(s.busy for s in taken)) else ""
        lines.append(f"{who:14}{wall:>18}{cpu:>8.2f}{peak:>9}{ratio:>26}{mark}")
    ours = samples["edgequant"]
    ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, peers, strict=True))
    peak = max(s.peak_bytes for s in ours)
    reached = "reached" if ratio <= WALL_TARGETS[name] and peak <= PEAK_TARGET_BYTES else "MISSED"
    wanted = f"{WALL_TARGETS[name]} of the peer's wall time, {PEAK_TARGET_BYTES / 1e6:.0f} MB"
    return "\n".join([*lines, f"target for the child: {wanted}: {reached}"])


def _machine() -> str:
    packages = ("llama-cpp-python", "gguf", "torch", "transformers", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {versions}\nmedian (minimum) of interleaved runs"


def _remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            _remove(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
