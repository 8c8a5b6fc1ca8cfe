"""What a user asks of one run, and how run.json has it, so that the steps can come on their own."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ... import __version__
from ...convert import grid
from ...convert.checkpoint import Checkpoint
from ...convert.formats import DEFAULT_FORMATS
from ...convert.onnx_options import OnnxOptions, from_job
from ...runtimes.session import runtime_version
from ..device import Device, from_json, host_device
from ..machine import host
from .run_folder import RunFolder

QUICK = "quick"  # a part of the built-in tasks


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks of one run; `context` in tokens."""

    source: str
    out: Path
    device: Device
    context: int
    formats: tuple[str, ...] = DEFAULT_FORMATS
    tasks: tuple[str, ...] = ()  # as accuracy/suites.py describes them; none means the suite
    suite: str = QUICK
    limit: int | None = None  # items of each task at most
    judge: str = ""  # address of a model that rates dialogues, and its name there
    judge_model: str = ""
    verify: bool = True
    keep_intermediate: bool = False
    split_max_bytes: int = 0  # of a GGUF file; 0 leaves it whole
    converter: Path | None = None  # llama.cpp's, for what ours refuses
    allow_nan: bool = False  # convert weights that are no finite numbers
    onnx: OnnxOptions = field(default_factory=OnnxOptions)
    command: str = ""


def request_of(folder: RunFolder) -> Request:
    """What was asked of the run in `folder`; "host" is the machine that this is, whichever it was then."""
    values = folder.open()
    return Request(
        source=values["source"],
        out=folder.path,
        device=_device(values["device"]),
        context=values["context"],
        formats=tuple(values["formats"]),
        tasks=tuple(values["tasks"]),
        suite=values.get("suite", "compact"),
        limit=values.get("limit"),
        judge=values.get("judge", ""),
        judge_model=values.get("judge_model", ""),
        verify=values["verified"],
        keep_intermediate=values.get("keep_intermediate", False),
        split_max_bytes=values.get("split_max_bytes", 0),
        converter=Path(values["converter"]) if values.get("converter") else None,
        allow_nan=values.get("allow_nan", False),
        onnx=from_job(values.get("onnx", {})),
        command=values["command"],
    )


def _device(values: dict[str, Any]) -> Device:
    """As it was, with the threads that a sweep found; but this machine where the folder came from another one."""
    known = from_json(values)
    here = host_device() if known.is_host else known
    return known if known.title == here.title else here


def described(request: Request, checkpoint: Checkpoint, *, context: int, ever_asked: Collection[str]) -> dict[str, Any]:
    """What is asked, of what and with what, for run.json; `ever_asked` are formats of earlier requests too."""
    named = Path(request.source)
    return {
        "source": str(named.resolve()) if named.exists() else request.source,
        "formats": list(request.formats),
        "asked": sorted(ever_asked),
        "tasks": list(request.tasks),
        "suite": request.suite,
        "limit": request.limit,
        "judge": request.judge,
        "judge_model": request.judge_model,
        "device": asdict(request.device),
        "cpu": host.machine().cpu,
        "context": context,
        "verified": request.verify,
        "keep_intermediate": request.keep_intermediate,
        "split_max_bytes": request.split_max_bytes,
        "converter": str(request.converter.resolve()) if request.converter else "",
        "allow_nan": request.allow_nan,
        "onnx": request.onnx.job(),
        "command": request.command,
        "checkpoint": _summary(checkpoint),
        "versions": {
            "edgequant": __version__,
            "llama-cpp-python": runtime_version("gguf"),
            "onnxruntime": runtime_version("onnx"),
        },
    }


def _summary(checkpoint: Checkpoint) -> dict[str, Any]:
    origin = checkpoint.quantised_source
    return {
        "name": checkpoint.name,
        "revision": checkpoint.revision,
        "n_parameters": checkpoint.n_parameters,
        "architecture": checkpoint.architecture,
        "dtype": checkpoint.dtype,
        "quantised_source": asdict(origin) if origin else None,
        "rescaled": checkpoint.rescaled,
        "grid": _grid_name(checkpoint),
    }


def _grid_name(checkpoint: Checkpoint) -> str:
    """The grid that the weights lie on, or lay on before they were rescaled; "" for none."""
    if checkpoint.rescaled and checkpoint.quantised_source:
        return checkpoint.quantised_source.type
    found = grid.recognise(checkpoint)
    return found.name if found else ""
