"""ONNX artifacts beside their peers in one run: divergence, size, speed, memory, and whether targets are reached.

    python benchmarks/onnx.py [--models smollm2,pocket,large] [--venv FOLDER] [--work FOLDER] [--pairs N] [--quick]

See benchmarks/README.md for what is compared and how to read the tables.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import checkpoints
import genai_environment
import rounds
from kl import divergences
from made import Made, make, make_by
from rounds import Launch, Samples, Work, Worker
from targets import GENAI, LLAMA, OPTIMUM, Results, table

from edgequant.accuracy import items, preparation
from edgequant.convert import demo, gguf_source
from edgequant.convert.formats import FORMATS
from edgequant.convert.vocabulary.tokenizer import Tokenizer

HERE = Path(__file__).parent
POCKET = HERE.parent / "tests" / "pocket" / "model"
CONTEXT, N_STEPS, MEMORY_CONTEXT = 640, 64, 512
#: what the large model is made in, in layers, for the growth of the memory that converting it takes; the last is 3.9 GB
GROWTH_LAYERS = (8, 28)
FASTEST = ("onnx-int8", "onnx-w8a8")  # what is timed of the large model


@dataclass
class Bench:
    """One model's comparison; what it makes lies in `folder`."""

    name: str
    checkpoint: Path
    folder: Path
    options: argparse.Namespace
    made: dict[str, Made] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the text that everything is asked about."""
        self.config: dict[str, Any] = json.loads((self.checkpoint / "config.json").read_text(encoding="utf-8"))
        self.context = min(CONTEXT, self.config["max_position_embeddings"])
        tokenizer = Tokenizer(self.checkpoint)
        tokens = tokenizer.encode(items.TEXT_FILE.read_text(encoding="utf-8"))
        cut = preparation.windows(
            tokens, size=preparation.WINDOW_TOKENS, begin=tokenizer.begin(), n_positions=preparation.N_POSITIONS
        )
        self.windows = cut[: self.options.windows]

    def make(self, names: list[str]) -> None:
        """Make the formats, one command each."""
        for name in names:
            made = make(self.checkpoint, name, self.folder / "run")
            if isinstance(made, Made):
                self._record(name, made)
            else:
                self.notes.append(f"{name} was not made: {made}")
                say(self.notes[-1])

    def peers(self) -> dict[str, Launch]:
        """The peers, after they built their own of the same checkpoint."""
        found: dict[str, Launch] = {}
        if self.options.venv:
            interpreter, folder = genai_environment.python(self.options.venv), self.folder / "genai-int8"
            command = genai_environment.build_command(interpreter, self.checkpoint, folder)
            self._record(GENAI, make_by(command, folder))
            found[GENAI] = self._peer([interpreter, "-P", str(HERE / "peer_genai.py")], folder)
        if self.name != "large":  # Optimum's export would take all memory
            command, folder = [sys.executable, "-P", str(HERE / "peer_optimum.py")], self.folder / "optimum-int8"
            self._record(OPTIMUM, make_by([*command, str(self.checkpoint), str(folder)], folder))
            found[OPTIMUM] = self._peer(command, folder)
        return found

    def _peer(self, command: list[str], folder: Path) -> Launch:
        settings = {"threads": self.options.threads, "context": self.context}
        return Launch(command=command, job={"path": str(folder), "settings": settings})

    def _record(self, name: str, made: Made) -> None:
        self.made[name] = made
        say(f"{name}: {made.size_bytes / 1e6:.1f} MB, {made.seconds:.1f} s, peak {made.peak_bytes / 1e6:.0f} MB")

    def own(self, name: str, *, context: int = 0, exact: bool = False) -> Launch:
        """An artifact of ours in its runtime."""
        options = self.options
        return rounds.own(
            self.made[name].path,
            threads=options.threads,
            context=context or self.context,
            repack=not options.no_repack,
            exact=exact,
        )

    def quality(self, peers: dict[str, Launch]) -> dict[str, float]:
        """Divergence of ONNX to onnx-fp32, and of Q8_0 to F32."""
        ours = {name: self.own(name) for name in self.made if name.startswith("onnx") and name != "onnx-fp32"}
        found = {}
        if "onnx-fp32" in self.made:
            found = divergences(self.own("onnx-fp32"), ours | peers, self.windows, self.folder)
        gguf = {LLAMA: self.own("Q8_0", exact=True)}
        return found | divergences(self.own("F32", exact=True), gguf, self.windows, self.folder)

    def speeds(self, peers: dict[str, Launch]) -> Samples:
        """Interleaved rounds of all engines."""
        text = self.windows[0]
        steps = self.windows[1][:N_STEPS]
        if GENAI in peers:  # it feeds what it chooses itself, so all others are given that
            with Worker(peers[GENAI]) as worker:
                steps = worker.ask(do="continue", ids=text[:128], n=N_STEPS)["ids"]
        works = [Work(name=f"prefill {n}", do="prefill", ids=text[:n]) for n in (128, 512)]
        works.append(Work(name="decode", do="decode", ids=text[:128], steps=steps))
        timed = [n for n in self.made if n.startswith("onnx-") and n != "onnx-fp32" and not n.endswith("-smooth")]
        if self.name == "large":
            timed = [name for name in timed if name in FASTEST]
        launches = {name: self.own(name) for name in timed} | peers | {LLAMA: self.own("Q8_0")}
        return rounds.run(launches, works, n=self.options.pairs)

    def memory(self) -> dict[str, int]:
        """Peak resident bytes of running artifacts until a context of 512 tokens is full."""
        found = {}
        text = self.windows[0][:MEMORY_CONTEXT]
        for name in ("onnx-int8", "onnx-w8a8", "Q8_0"):
            if name in self.made:
                with Worker(self.own(name, context=MEMORY_CONTEXT)) as worker:
                    worker.ask(do="decode", ids=text[:-N_STEPS], steps=text[-N_STEPS:], times=1)
                    found[name] = worker.ask(do="memory")["VmHWM"]
        return found

    def cache_bytes(self) -> int:
        """Float32 keys and values of that context."""
        heads = self.config["num_attention_heads"]
        head_dim = self.config.get("head_dim") or self.config["hidden_size"] // heads
        layers, kv_heads = self.config["num_hidden_layers"], self.config["num_key_value_heads"]
        return 4 * 2 * layers * kv_heads * head_dim * MEMORY_CONTEXT


def main() -> None:
    """Make the checkpoints, compare, print the tables, remove what was made."""
    sys.path[:] = [entry for entry in sys.path if Path(entry) != HERE]  # this file must not stand in for the package
    options = _options()
    everything = {}
    with tempfile.TemporaryDirectory(prefix="edgequant-benchmark-", dir=options.work) as work:
        print(_machine(), flush=True)
        for name in options.models.split(","):
            results = _compare(name, Path(work), options)
            everything[name] = results.to_json()
            print(table(name, results), flush=True)
            shutil.rmtree(Path(work) / name)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="smollm2,pocket,large", help="of smollm2, pocket, large [all]")
    parser.add_argument("--formats", default="", help="ONNX formats beside onnx-fp32 [all]")
    parser.add_argument("--venv", type=Path, help=f"environment of onnxruntime-genai [${genai_environment.VARIABLE}]")
    parser.add_argument("--without-genai", action="store_true", help="leave that peer out")
    parser.add_argument("--work", type=Path, help="where 19 GB of files are made and removed [the temporary folder]")
    parser.add_argument("--pairs", type=int, default=20, help="undisturbed rounds [20]")
    parser.add_argument("--windows", type=int, default=16, help="windows of 512 tokens for the divergence [16]")
    parser.add_argument("--threads", type=int, default=2, help="of every engine [2]")
    parser.add_argument("--no-repack", action="store_true", help="llama.cpp without repacked and AMX kernels")
    parser.add_argument("--quick", action="store_true", help="2 rounds, 2 windows: whether everything runs")
    parser.add_argument("--json", type=Path, help="also write every sample to this file")
    options = parser.parse_args()
    options.venv = None if options.without_genai else genai_environment.find(options.venv)
    if options.quick:
        options.pairs, options.windows = 2, 2
    return options


def _compare(name: str, work: Path, options: argparse.Namespace) -> Results:
    say(f"\n{name}: makes the checkpoint")
    folder = work / name
    folder.mkdir()
    bench = Bench(name=name, checkpoint=_checkpoint(name, work), folder=folder, options=options)
    bench.make([*([] if name == "large" else ["F32"]), "F16", "Q8_0", *_formats(options, name)])
    peers = bench.peers()
    say("divergence")
    quality = {} if name == "large" else bench.quality(peers)  # random weights have nothing to say
    growth = _growth(work, bench.checkpoint) if name == "large" else {}
    if name == "large" and "onnx-int8" in bench.made:
        growth[bench.config["num_hidden_layers"]] = bench.made["onnx-int8"].peak_bytes
    say("memory")
    resident = bench.memory()
    say("speed")
    return Results(
        made=bench.made,
        divergence=quality,
        samples=bench.speeds(peers),
        resident=resident,
        cache_bytes=bench.cache_bytes(),
        growth=dict(sorted(growth.items())),
        notes=bench.notes,
    )


def _formats(options: argparse.Namespace, name: str) -> list[str]:
    if name == "large":
        return list(FASTEST)
    known = [fmt for fmt, row in FORMATS.items() if row.container == "onnx"]
    return list(dict.fromkeys(["onnx-fp32", *(options.formats.split(",") if options.formats else known)]))


def _checkpoint(name: str, work: Path) -> Path:
    if name == "pocket":
        return POCKET
    small = work / "SmolLM2"
    if not small.exists():
        gguf_source.dequantise(demo.find(), small, rescale=True)  # as `edgequant run demo` takes it
    return small if name == "smollm2" else checkpoints.make_llama(work / "Llama-1B", small)


def _growth(work: Path, tokenizer: Path) -> dict[int, int]:
    """Layers -> peak memory of converting a model of as many to onnx-int8."""
    found = {}
    for layers in GROWTH_LAYERS:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            checkpoint = checkpoints.make_llama(Path(folder) / "checkpoint", tokenizer, layers=layers)
            made = make(checkpoint, "onnx-int8", Path(folder) / "run")
            if isinstance(made, Made):
                found[layers] = made.peak_bytes
    return found


def _machine() -> str:
    packages = ("onnxruntime", "llama-cpp-python", "optimum-onnx", "torch", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    models = {line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")}
    said = f"{os.cpu_count()} cores ({', '.join(models)}), Python {sys.version.split()[0]}, {versions}"
    return f"{said}, onnxruntime-genai {genai_environment.VERSION}"


def _lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8").splitlines()


def say(text: str) -> None:
    """Progress, beside the tables."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
