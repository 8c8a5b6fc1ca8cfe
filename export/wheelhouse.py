"""The wheelhouse: every wheel that a device needs to run edgequant, and the script that installs them there."""

import hashlib
import importlib.metadata
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import Error
from ..convert.atomic import replacing, write_text
from .llama_wheel import llama_wheel
from .own_wheel import own_wheel
from .pip_command import pip
from .target import Target

CACHE_VARIABLE = "EDGEQUANT_CACHE_DIR"
INSTALLER = "install.sh"
WHEELS = "wheels"
_SCRIPT = Path(__file__).with_name(INSTALLER)
_GLIBC = re.compile(r"manylinux_2_(\d+)_")
_OLDEST_GLIBC = 17  # of manylinux2014, the oldest platform that the pinned wheels still name
_PYTHON = re.compile(r"3\.\d+")


def cache_folder() -> Path:
    """Where built and fetched wheels stay: $EDGEQUANT_CACHE_DIR, or edgequant/ in the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgequant"


def make(target: Target, folder: Path, *, pythons: Sequence[str], progress: Callable[[str], None]) -> None:
    """Fill `folder` with wheels/ and install.sh for a device; the network is needed for what the cache lacks."""
    for python in pythons:
        if not _PYTHON.fullmatch(python):
            raise Error(f"{python!r} is no version of CPython", hint="write 3.11 or 3.13")
    cache = cache_folder() / WHEELS
    llama = llama_wheel(target, cache, progress=progress)
    wheels = folder / WHEELS
    wheels.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(llama, wheels / llama.name)
    for python in pythons:
        for wheel in sorted(_others(target, python, llama, cache, progress).glob("*.whl")):
            shutil.copyfile(wheel, wheels / wheel.name)
    progress("builds edgequant's own wheel")
    own_wheel(wheels)
    write_text(folder / INSTALLER, installer(target, pythons, glibc=_newest_glibc(wheels)))
    (folder / INSTALLER).chmod(0o755)


def _others(target: Target, python: str, llama: Path, cache: Path, progress: Callable[[str], None]) -> Path:
    """The folder of the other wheels for one CPython, in the versions that are installed here."""
    wanted, pins = requirements(), constraints()
    glibc = _newest_glibc(llama.parent)
    digest = hashlib.sha256("\n".join([*wanted, *pins, str(glibc)]).encode()).hexdigest()[:12]
    folder = cache / f"others-{target.machine}-cp{python.replace('.', '')}-{digest}"
    if folder.is_dir():
        return folder
    progress(f"fetches the other wheels for {target.machine}, Python {python}")
    with replacing(folder) as partial:
        partial.mkdir()
        pinned = partial / "constraints.txt"
        pinned.write_text("\n".join([*pins, ""]), encoding="utf-8")
        version = python.replace(".", "")
        pip(
            *("download", "--only-binary=:all:", "--dest", partial, "--constraint", pinned),
            *("--find-links", llama.parent, "--implementation", "cp", "--python-version", version),
            *("--abi", f"cp{version}", *platforms(target.machine, glibc), *wanted, "pip"),
            doing=f"fetch the wheels for {target.machine} and Python {python}",
        )
        pinned.unlink()
        (partial / llama.name).unlink(missing_ok=True)
    return folder


def requirements() -> list[str]:
    """What edgequant's base install asks for."""
    stated = importlib.metadata.requires("edgequant") or []
    return sorted(line for line in stated if "extra ==" not in line)


def constraints() -> list[str]:
    """The versions that are installed here, so that the device measures with the same engines.

    pip itself is left out: it only installs, and an old one does not run on the newest Python.
    """
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    public = {name: version.partition("+")[0] for name, version in found.items() if name not in ("pip", "edgequant")}
    return sorted(f"{name}=={version}" for name, version in public.items())


def platforms(machine: str, glibc: int) -> list[str]:
    """pip's words for every Linux platform up to that glibc; naming one does not include those below it."""
    names = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, _OLDEST_GLIBC - 1, -1)]
    return [word for name in (*names, f"manylinux2014_{machine}") for word in ("--platform", name)]


def _newest_glibc(folder: Path) -> int:
    """The lowest glibc that runs every wheel: a wheel states the lowest of its names, the wheelhouse the highest."""
    stated = [[int(n) for n in _GLIBC.findall(wheel.name)] for wheel in folder.glob("*.whl")]
    return max([28, *(min(each) for each in stated if each)])


def installer(target: Target, pythons: Sequence[str], *, glibc: int) -> str:
    """install.sh with what it has to look for filled in."""
    text = _SCRIPT.read_text(encoding="utf-8")
    found = {"machine": target.machine, "pythons": " ".join(pythons), "glibc": f"2.{glibc}"}
    for name, value in {**found, "needs": " ".join(target.needs)}.items():
        text = text.replace(f"@{name}@", value)
    return text
