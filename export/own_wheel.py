"""edgequant's own wheel: built from the clone that runs, or put together again from what pip installed."""

import importlib.metadata
import shutil
import tempfile
from pathlib import Path

from .. import Error
from .pip_command import pip
from .wheel_file import read_wheel, write_wheel

_NAME = "edgequant"
_PACKAGE = Path(__file__).parents[1]
_NO_PART = (".*", "build", "runs", "tests", "benchmarks", "docs", "*.egg-info", "__pycache__")


def own_wheel(folder: Path) -> Path:
    """Write the wheel of the edgequant that runs into `folder`; the same bytes from the same files."""
    files = _built() if (_PACKAGE / "pyproject.toml").is_file() else _installed()
    return write_wheel(folder, files, tag="py3-none-any")


def _built() -> dict[str, bytes]:
    """Built from a copy: setuptools leaves its own folders beside the sources."""
    with tempfile.TemporaryDirectory() as work:
        clone = Path(work) / _NAME
        shutil.copytree(_PACKAGE, clone, ignore=shutil.ignore_patterns(*_NO_PART))
        isolation = [] if _lacks_setuptools() else ["--no-build-isolation"]
        pip("wheel", "--no-deps", *isolation, "--wheel-dir", work, clone, doing="build edgequant's own wheel")
        (wheel,) = Path(work).glob("*.whl")
        return read_wheel(wheel)


def _lacks_setuptools() -> bool:
    """Whether pip has to fetch setuptools: an environment of today may have none, or one that is too old."""
    try:
        return int(importlib.metadata.version("setuptools").partition(".")[0]) < 77
    except importlib.metadata.PackageNotFoundError:
        return True


def _installed() -> dict[str, bytes]:
    """The files that an installer recorded, without what it added itself."""
    distribution = importlib.metadata.distribution(_NAME)
    added = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    found = {
        str(file): Path(str(file.locate())).read_bytes()
        for file in distribution.files or ()
        if file.suffix != ".pyc" and file.parts[0] != ".." and file.name not in added
    }
    if not any(name.startswith(f"{_NAME}/") for name in found):
        raise Error("edgequant's own files are not where its installer says", hint="install it again with pip")
    return found
