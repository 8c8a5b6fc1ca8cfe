"""What a command's options ask for, in the terms of the floors below."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..progress import Progress

if TYPE_CHECKING:
    from ..export.on_device import OnDevice
    from ..pipeline import Run
    from ..profiles.records.request import Request
    from ..profiles.records.run_folder import RunFolder
    from ..report.answer import Limits


def requested(
    *,
    model: str,
    formats: str | None = None,
    device: str | None = None,
    context: int | None = None,
    out: Path | None = None,
    tasks: tuple[str, ...] = (),
    suite: str | None = None,
    limit: int | None = None,
    judge: str = "",
    judge_model: str = "",
    no_verify: bool = False,
    keep_intermediate: bool = False,
    split_max_bytes: int = 0,
    converter: Path | None = None,
    allow_nan: bool = False,
    smooth: bool = False,
    **onnx: Any,
) -> "Request":
    """What a command's options ask of a run."""
    from ..convert.formats import DEFAULT_FORMATS, with_smoothed
    from ..convert.onnx_options import OnnxOptions
    from ..profiles.device import HOST, load
    from ..profiles.kernels import suited
    from ..profiles.machine.host import machine
    from ..profiles.records.request import QUICK, Request

    profile = load(device or HOST)
    named = tuple(formats.split(",")) if formats else DEFAULT_FORMATS
    return Request(
        source=model,
        out=out or Path("runs") / _name(model),
        device=profile,
        context=context or profile.context,
        formats=with_smoothed(named) if smooth else named,
        tasks=tasks,
        suite=_suite(tasks, suite) or QUICK,
        limit=limit,
        judge=judge,
        judge_model=judge_model,
        verify=not no_verify,
        keep_intermediate=keep_intermediate,
        split_max_bytes=split_max_bytes,
        converter=converter,
        allow_nan=allow_nan,
        onnx=OnnxOptions(**{**onnx, **suited(profile.isa, machine().isa)}),
        command=shlex.join(["edgequant", *sys.argv[1:]]),
    )


def resumed(
    progress: Progress,
    run_folder: Path,
    *,
    device: str | None = None,
    context: int | None = None,
    tasks: tuple[str, ...] = (),
    suite: str | None = None,
    limit: int | None = None,
    judge: str = "",
    judge_model: str = "",
    out: Path | None = None,
) -> "Run | OnDevice":
    """The run in a folder, with what was asked then unless an option says otherwise; a bundle is unpacked to `out`."""
    from ..export import unpack

    if unpack.is_bundle(run_folder):
        asked = (*tasks, *([suite] if suite else []), *([str(limit)] if limit else []), *([judge] if judge else []))
        return _on_device(progress, unpack.unpacked(run_folder, out=out), device, context, asked)
    from .. import pipeline
    from ..profiles.device import load
    from ..profiles.records.request import request_of
    from ..profiles.records.run_folder import RunFolder

    check_out(out)
    request = request_of(RunFolder(run_folder))
    changes: dict[str, Any] = {"device": load(device)} if device else {}
    changes |= {"context": context} if context else {}
    changes |= {"tasks": tasks, "limit": limit} if tasks else {"limit": limit} if limit else {}
    changes |= {"judge": judge, "judge_model": judge_model} if judge else {}
    changes |= {"tasks": (), "suite": suite, "limit": limit} if _suite(tasks, suite) else {}
    return pipeline.Run(request=replace(request, **changes), listen=progress)


def _suite(tasks: tuple[str, ...], suite: str | None) -> str | None:
    """The suite that was named; `Error` where tasks were named beside it."""
    from .. import Error

    if tasks and suite:
        raise Error("--suite and --task both say what is asked", hint="leave one of them out")
    return suite


def _on_device(
    progress: Progress, folder: Path, device: str | None, context: int | None, tasks: tuple[str, ...]
) -> "OnDevice":
    from .. import Error
    from ..export.on_device import OnDevice

    if tasks:
        raise Error(
            "a bundle has its own tasks, for which the reference's answers came along",
            hint="leave --task, --suite, --limit and --judge out",
        )
    return OnDevice(path=folder, device_name=device or "", context=context or 0, listen=progress)


def run_folder_of(progress: Progress, path: Path, *, out: Path | None = None) -> "RunFolder":
    """The run in a folder, or that of a bundle, which is unpacked to `out`, without opening any checkpoint."""
    from ..export import unpack
    from ..profiles.records.run_folder import RunFolder

    if not unpack.is_bundle(path):
        check_out(out)
        return RunFolder(path)
    folder = RunFolder(unpack.unpacked(path, out=out))
    if not folder.description.is_file():
        _on_device(progress, folder.path, None, None, ())
    return folder


def check_out(out: Path | None) -> None:
    """Refuse `--out` where nothing is unpacked."""
    if out is not None:
        raise click.UsageError("--out says where a bundle is unpacked, and this is none")


def limits_of(values: dict[str, Any]) -> "Limits | None":
    """The limits given; None where none was, which leaves the device's own."""
    from ..report.answer import Limits

    given = {name: value for name, value in values.items() if value is not None}
    given |= {"max_memory_bytes": given.pop("max_memory")} if "max_memory" in given else {}
    given |= {"max_size_bytes": given.pop("max_size")} if "max_size" in given else {}
    return Limits(**given)


def _name(model: str) -> str:
    """The last part of a path or Hub id, without .gguf."""
    return Path(model).resolve().name.removesuffix(".gguf")
