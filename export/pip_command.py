"""pip, the one of the Python that runs edgequant: what it builds and downloads, and what it says where it fails."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from .. import Error

_ENDING = 3  # lines of what it said that are told


def pip(*words: object, environment: Mapping[str, str] | None = None, doing: str) -> None:
    """Run `pip words`; `Error` with the end of what it said where it fails, `doing` being what it was to do."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, words)]
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise Error(f"cannot {doing}: {_why(done.stdout)}", hint=_hint(done.stdout))


def _why(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told: Sequence[str] = [
        line for line in lines if line.lower().startswith(("error", "fatal", "cmake error"))
    ] or lines
    return "; ".join(told[-_ENDING:]) or "pip said nothing"


def _hint(said: str) -> str:
    if "No module named pip" in said:
        return "python -m ensurepip"
    network = any(words in said for words in ("Connection", "Temporary failure in name resolution", "ProxyError"))
    return "wheels come over the network the first time; later bundles take them from the cache" if network else ""
