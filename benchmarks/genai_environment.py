"""onnxruntime-genai in an environment of its own, and how it builds its own int8 of a checkpoint.

It needs transformers 5, which Optimum does not admit: so it cannot live in this project's environment.
"""

import os
from pathlib import Path

import environments

VERSION = "0.18.0"
DEFAULT = environments.ROOT / ".venv-genai"
VARIABLE = "EDGEQUANT_GENAI_VENV"
#: its builder imports onnx_ir, which its wheel does not ask for
_PACKAGES = (f"onnxruntime-genai=={VERSION}", "onnx-ir==1.1.0", "onnx", "onnxruntime", "transformers", "safetensors")


def find(named: Path | None) -> Path:
    """The environment's folder: the named one, that of the variable, or the one in the clone."""
    return named or Path(os.environ.get(VARIABLE, DEFAULT))


def python(venv: Path) -> str:
    """Its interpreter, after making the environment where it is not there; the pins are this project's."""
    pins = environments.pins("constraints.txt", "constraints-new.txt")
    return environments.python(venv, _PACKAGES, pins=pins, name=f"genai-{VERSION}")


def build_command(interpreter: str, checkpoint: Path, folder: Path) -> list[str]:
    """What writes its int8 of the checkpoint with the builder's own defaults.

    These are MatMulNBits with 8 bits, block 32 and accuracy level 4, q, k and v in one; the embedding stays float32.
    """
    given = {"-i": checkpoint, "-o": folder, "-p": "int8", "-e": "cpu", "-c": folder.with_name("genai-cache")}
    arguments = [str(each) for pair in given.items() for each in pair]
    return [interpreter, "-P", "-m", "onnxruntime_genai.models.builder", *arguments]
