"""llama.cpp's llama-bench, built against the libllama that llama-cpp-python installed: the same kernels in both.

Only its own file and what it uses of `common` are compiled. The rest of `common` (downloads, chat templates, JSON)
stays unresolved in a shared library: binding is lazy, and a benchmark never calls it.
"""

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SOURCES = ("tools/llama-bench/llama-bench.cpp", "common/common.cpp", "common/log.cpp", "common/fit.cpp")
INCLUDES = ("common", "include", "ggml/include", "vendor", "src", "tools/llama-bench")
_LIBRARIES = ("llama", "ggml", "ggml-base", "ggml-cpu")
_MAIN = "int llama_bench(int, char **);\nint main(int n, char ** given) { return llama_bench(n, given); }\n"
_BUILD_INFO = (
    '#include "build-info.h"\n'
    'int llama_build_number(void) { return 0; }\nchar const * llama_commit(void) { return ""; }\n'
    'int LLAMA_BUILD_NUMBER = 0; char const * LLAMA_COMMIT = ""; char const * LLAMA_COMPILER = "";\n'
    'char const * LLAMA_BUILD_TARGET = "";\n'
)


def program(cache: Path) -> Path:
    """llama-bench in `cache`, built unless it is there; needs a C++ compiler and, the first time, pip's index."""
    version, library = importlib.metadata.version("llama-cpp-python"), _library_folder()
    digest = hashlib.sha256((library / "libllama.so").read_bytes()).hexdigest()[:12]
    made = cache / f"llama-bench-{version}-{digest}" / "llama-bench"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=cache) as work:
            _build(_source(version, cache, Path(work)), library, made.parent)
    return made


def _library_folder() -> Path:
    found = find_spec("llama_cpp")
    assert found and found.origin
    return Path(found.origin).parent / "lib"


def _source(version: str, cache: Path, work: Path) -> Path:
    """llama.cpp's source as the source distribution of that llama-cpp-python carries it; the archive stays in cache."""
    archive = cache / f"llama_cpp_python-{version}.tar.gz"
    if not archive.exists():
        wanted = ["--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={version}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", str(cache), *wanted], check=True)
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return next(work.glob("llama_cpp_python-*/vendor/llama.cpp"))


def _build(source: Path, library: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    (source / "main.cpp").write_text(_MAIN)
    (source / "build-info.cpp").write_text(_BUILD_INFO)
    files = [source / name for name in (*SOURCES, "build-info.cpp", "main.cpp")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        *objects, main = pool.map(lambda file: _compile(source, file), files)
    found = [f"-L{library}", f"-Wl,-rpath,{library}", "-Wl,-rpath,$ORIGIN", "-Wl,-z,lazy"]
    linked = [f"-l{name}" for name in _LIBRARIES]
    _run("g++", "-shared", "-o", str(target / "libbench.so"), *map(str, objects), *found, *linked)
    unresolved = [f"-L{target}", "-Wl,--allow-shlib-undefined", "-lbench", *linked]
    _run("g++", "-o", str(target / "llama-bench"), str(main), *found, *unresolved)


def _compile(source: Path, file: Path) -> Path:
    made = file.with_suffix(".o")
    flags = ["-std=c++17", "-O2", "-DNDEBUG", "-fPIC", *(f"-I{source / folder}" for folder in INCLUDES)]
    _run("g++", *flags, "-c", str(file), "-o", str(made))
    return made


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... failed:\n{done.stderr[-3000:]}")


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """What both sides compute; lengths in tokens. Decode stands behind the prompt."""

    n_prompt: int
    n_generate: int
    repetitions: int
    threads: int


def speeds(bench: Path, model: Path, lengths: Lengths) -> dict[str, list[float]]:
    """Tokens per second: "prefill" of the prompt, and "decode" with the prompt in the cache (`-d`)."""
    common = [str(bench), "-m", str(model), "-t", str(lengths.threads), "-r", str(lengths.repetitions), "-o", "jsonl"]
    asked = {
        "prefill": ["-p", str(lengths.n_prompt), "-n", "0"],
        "decode": ["-p", "0", "-n", str(lengths.n_generate), "-d", str(lengths.n_prompt)],
    }
    found = {}
    for name, what in asked.items():
        done = subprocess.run([*common, *what], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"llama-bench failed ({done.returncode}):\n{done.stderr[-2000:]}")
        found[name] = json.loads(done.stdout.splitlines()[-1])["samples_ts"]
    return found
