"""llama-cpp-python's wheel for a device: compiled here, made slim, and labelled as what it is.

There is no ready one, and a Raspberry Pi would compile for tens of minutes. Inside are shared libraries and bindings in
pure Python, so that one wheel serves every CPython.
"""

import importlib.metadata
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import Error
from ..convert.atomic import replacing
from .pip_command import pip
from .target import Target
from .wheel_file import read_wheel, write_wheel

NAME = "llama-cpp-python"
_LIBRARIES = "llama_cpp/lib/"
_OPENED = ("libllama.so", "libggml.so")  # what the bindings open by name; those name the others
_OPENMP = "libgomp.so.1"  # a small Debian lacks it, and a device without a network cannot fetch it
_TOOLCHAIN = """\
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR {machine})
set(CMAKE_C_COMPILER {triplet}-gcc)
set(CMAKE_CXX_COMPILER {triplet}-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
"""
_DEBIAN = {"aarch64": "g++-aarch64-linux-gnu", "x86_64": "g++-x86-64-linux-gnu"}
_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64"}  # e_machine of an ELF header
_GLIBC = re.compile(rb"GLIBC_2\.(\d+)")


def llama_wheel(target: Target, cache: Path, *, progress: Callable[[str], None]) -> Path:
    """The wheel of the installed version for `target`, from `cache` where it was built before; minutes where not."""
    folder = cache / f"{NAME}-{importlib.metadata.version(NAME)}-{target.machine}-{target.architecture}"
    if not folder.is_dir():
        check_compiler(target)
        progress(f"compiles {NAME} for {target.machine} ({target.architecture}); some minutes, once")
        with replacing(folder) as partial, tempfile.TemporaryDirectory() as work:
            partial.mkdir()
            slim(_build(target, Path(work)), partial, openmp=_openmp(target))
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_compiler(target: Target) -> None:
    """Raise `Error`, naming Debian's package, where no compiler writes code for the target."""
    if not shutil.which(target.tool("g++")):
        package = "g++" if target.is_native else _DEBIAN[target.machine]
        raise Error(
            f"no compiler here writes code for {target.machine}: {target.tool('g++')} is missing",
            hint=f"sudo apt install {package}",
        )


def _build(target: Target, work: Path) -> Path:
    options = {**target.cmake, "LLAVA_BUILD": "OFF"}
    if not target.is_native:
        toolchain = work / "toolchain.cmake"
        toolchain.write_text(_TOOLCHAIN.format(machine=target.machine, triplet=target.triplet), encoding="utf-8")
        options["CMAKE_TOOLCHAIN_FILE"] = str(toolchain)
    flags = shlex.join(f"-D{name}={value}" for name, value in options.items())
    version = importlib.metadata.version(NAME)
    pip(
        *("wheel", "--no-cache-dir", "--no-deps", "--no-binary", NAME),
        *("--wheel-dir", work / "built", f"{NAME}=={version}"),
        environment={"CMAKE_ARGS": flags, "CFLAGS": "", "CXXFLAGS": ""},
        doing=f"compile {NAME} for {target.machine}",
    )
    (wheel,) = (work / "built").glob("*.whl")
    return wheel


def _openmp(target: Target) -> Path | None:
    """GNU's OpenMP library as the compiler has it."""
    asked = [target.tool("gcc"), f"-print-file-name={_OPENMP}"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return Path(said) if Path(said).is_absolute() and Path(said).is_file() else None


def slim(wheel: Path, folder: Path, *, openmp: Path | None) -> Path:
    """Write the wheel anew into `folder`: each library once, and the machine and glibc that it needs in its name.

    As it is built, it holds most libraries six times over and calls itself by the machine that built it.
    """
    files = read_wheel(wheel)
    libraries = {name.removeprefix(_LIBRARIES): data for name, data in files.items() if name.startswith(_LIBRARIES)}
    kept = needed(libraries)
    if openmp and any(_OPENMP.encode() in data for data in kept.values()):
        kept[_OPENMP] = openmp.read_bytes()
    own = {
        name: data for name, data in files.items() if name.startswith("llama_cpp") and not name.startswith(_LIBRARIES)
    }
    return write_wheel(folder, {**own, **_under(kept)}, tag=f"py3-none-{platform_tag(kept)}")


def _under(libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    return {_LIBRARIES + name: data for name, data in libraries.items()}


def needed(libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those libraries that the bindings open, and what they name in turn (ELF keeps the names as plain text).

    A library also states its own longer name, libllama.so.0, which nobody looks up where it is opened by its path.
    """
    kept: dict[str, bytes] = {}
    waiting = [name for name in _OPENED if name in libraries]
    while waiting:
        name = waiting.pop()
        kept[name] = libraries[name]
        named = [other for other in libraries if b"\0" + other.encode() + b"\0" in kept[name]]
        waiting += [other for other in named if other not in kept and not other.startswith(name)]
    return kept


def platform_tag(libraries: Mapping[str, bytes]) -> str:
    """The platform that the libraries run on: manylinux_2_X_MACHINE with the highest glibc that a symbol asks for."""
    newest = max(int(found[1]) for data in libraries.values() for found in _GLIBC.finditer(data))
    machines = {_MACHINES[int.from_bytes(data[18:20], "little")] for data in libraries.values()}
    if len(machines) != 1:
        raise Error(f"the wheel holds libraries of several machines: {', '.join(sorted(machines))}")
    return f"manylinux_2_{newest}_{machines.pop()}"
