"""onnxruntime-genai in an environment of its own, and how it builds its own int8 of a checkpoint.

It needs transformers 5, which Optimum does not admit: so it cannot live in this project's environment.
"""

import os
import subprocess
import sys
from pathlib import Path

VERSION = "0.18.0"
ROOT = Path(__file__).parent.parent
DEFAULT = ROOT / ".venv-genai"
VARIABLE = "EDGEQUANT_GENAI_VENV"
_TORCH = "torch==2.13.0"
#: its builder imports onnx_ir, which its wheel does not ask for
_PACKAGES = (f"onnxruntime-genai=={VERSION}", "onnx-ir==1.1.0", "onnx", "onnxruntime", "transformers", "safetensors")


def find(named: Path | None) -> Path:
    """The environment's folder: the named one, that of the variable, or the one in the clone."""
    return named or Path(os.environ.get(VARIABLE, DEFAULT))


def python(venv: Path) -> str:
    """Its interpreter, after making the environment where it is not there; the pins are this project's."""
    stamp = venv / f"stamp-genai-{VERSION}"
    if not stamp.exists():
        print(f"makes {venv} with onnxruntime-genai {VERSION}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pins = venv / "constraints.txt"
        pins.write_text(_pins(), encoding="utf-8")
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "--no-deps", *os.environ.get("TORCH_ARGS", "").split(), _TORCH], check=True)
        subprocess.run([*pip, "-c", str(pins), _TORCH, *_PACKAGES], check=True)
        stamp.touch()
    return str(venv / "bin" / "python")


def _pins() -> str:
    """constraints.txt, with those of constraints-new.txt in the place of the same packages."""
    pins: dict[str, str] = {}
    for name in ("constraints.txt", "constraints-new.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins |= {line.partition("==")[0]: line for line in lines if "==" in line and not line.startswith("#")}
    return "\n".join(pins.values()) + "\n"


def build_command(interpreter: str, checkpoint: Path, folder: Path) -> list[str]:
    """What writes its int8 of the checkpoint with the builder's own defaults.

    These are MatMulNBits with 8 bits, block 32 and accuracy level 4, q, k and v in one; the embedding stays float32.
    """
    given = {"-i": checkpoint, "-o": folder, "-p": "int8", "-e": "cpu", "-c": folder.with_name("genai-cache")}
    arguments = [str(each) for pair in given.items() for each in pair]
    return [interpreter, "-P", "-m", "onnxruntime_genai.models.builder", *arguments]
