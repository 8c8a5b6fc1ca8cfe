"""lm-evaluation-harness in an environment of its own: nothing in this project depends on it."""

import os
import subprocess
from pathlib import Path

import environments

VERSION = "0.4.13"
DEFAULT = environments.ROOT / ".venv-harness"
VARIABLE = "EDGEQUANT_HARNESS_VENV"
_PACKAGES = (f"lm-eval=={VERSION}", "transformers==4.57.6", "accelerate==1.15.0")


def find(named: Path | None) -> Path:
    """The environment's folder: the named one, that of the variable, or the one in the clone."""
    return named or Path(os.environ.get(VARIABLE, DEFAULT))


def python(venv: Path) -> str:
    """Its interpreter, after making the environment where it is not there; `SystemExit` says why that failed."""
    pins = environments.pins("constraints.txt")
    try:
        return environments.python(venv, _PACKAGES, pins=pins, name=f"lm-eval-{VERSION}")
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"no environment in {venv}: {error}") from None


def tasks(venv: Path) -> Path:
    """The folder of its task definitions."""
    return next(venv.glob("lib/python*/site-packages/lm_eval/tasks"))
