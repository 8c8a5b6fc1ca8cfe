"""llama.cpp's own programs, built against the libllama that llama-cpp-python installed: the same kernels in both.

Only a program's file and what it uses of `common` are compiled. The rest of `common` (downloads, chat templates, JSON)
stays unresolved in a shared library: binding is lazy, and a benchmark never calls it.
"""

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgequant-benchmarks"
_INCLUDES = ("common", "include", "ggml/include", "vendor", "src")
_LIBRARIES = ("llama", "ggml", "ggml-base", "ggml-cpu")
_BUILD_INFO = (
    '#include "build-info.h"\n'
    'int llama_build_number(void) { return 0; }\nchar const * llama_commit(void) { return ""; }\n'
    'int LLAMA_BUILD_NUMBER = 0; char const * LLAMA_COMMIT = ""; char const * LLAMA_COMPILER = "";\n'
    'char const * LLAMA_BUILD_TARGET = "";\n'
)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program: its source files in llama.cpp, its own first, and the text of the file with its `main`."""

    name: str
    sources: tuple[str, ...]
    main: str


def program(tool: Tool, cache: Path) -> Path:
    """The tool in `cache`, built unless it is there; needs a C++ compiler and, the first time, pip's index."""
    version, library = importlib.metadata.version("llama-cpp-python"), _library_folder()
    digest = hashlib.sha256((library / "libllama.so").read_bytes() + tool.main.encode()).hexdigest()[:12]
    made = cache / f"{tool.name}-{version}-{digest}" / tool.name
    if not made.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            _build(tool, _source(version, cache, Path(work)), library, made)
    return made


def _library_folder() -> Path:
    found = find_spec("llama_cpp")
    assert found and found.origin
    return Path(found.origin).parent / "lib"


def vocabulary(name: str, cache: Path, work: Path) -> Path:
    """One of llama.cpp's own vocabularies, such as "qwen2", as a GGUF file in `work`."""
    with tarfile.open(_archive(importlib.metadata.version("llama-cpp-python"), cache)) as packed:
        wanted = next(each for each in packed if each.name.endswith(f"/models/ggml-vocab-{name}.gguf"))
        packed.extract(wanted, work, filter="data")
    return work / wanted.name


def _archive(version: str, cache: Path) -> Path:
    """The source distribution of that llama-cpp-python, in cache; downloaded the first time."""
    archive = cache / f"llama_cpp_python-{version}.tar.gz"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        wanted = ["--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={version}"]
        _run(sys.executable, "-m", "pip", "download", "-q", "-d", str(cache), *wanted)
    return archive


def _source(version: str, cache: Path, work: Path) -> Path:
    """llama.cpp's source as the source distribution of that llama-cpp-python carries it."""
    with tarfile.open(_archive(version, cache)) as packed:
        packed.extractall(work, filter="data")
    return next(work.glob("llama_cpp_python-*/vendor/llama.cpp"))


def _build(tool: Tool, source: Path, library: Path, made: Path) -> None:
    made.parent.mkdir(parents=True, exist_ok=True)
    (source / "main.cpp").write_text(tool.main)
    (source / "build-info.cpp").write_text(_BUILD_INFO)
    files = [source / name for name in (*tool.sources, "build-info.cpp", "main.cpp")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        *objects, main = pool.map(lambda file: _compile(source, file, beside=files[0].parent), files)
    found = [f"-L{library}", f"-Wl,-rpath,{library}", "-Wl,-rpath,$ORIGIN", "-Wl,-z,lazy"]
    linked = [f"-l{name}" for name in _LIBRARIES]
    _run("g++", "-shared", "-o", str(made.parent / "libtool.so"), *map(str, objects), *found, *linked)
    unresolved = [f"-L{made.parent}", "-Wl,--allow-shlib-undefined", "-ltool", *linked]
    _run("g++", "-o", str(made), str(main), *found, *unresolved)


def _compile(source: Path, file: Path, *, beside: Path) -> Path:
    made = file.with_suffix(".o")
    folders = [*(source / folder for folder in _INCLUDES), beside]
    flags = ["-std=c++17", "-O2", "-DNDEBUG", "-fPIC", *(f"-I{folder}" for folder in folders)]
    _run("g++", *flags, "-c", str(file), "-o", str(made))
    return made


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed") from None
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... failed:\n{done.stderr[-3000:]}")
