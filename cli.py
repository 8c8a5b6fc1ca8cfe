"""The command line: parse, call one function, print. Click is here and in options.py alone, and nothing else prints."""

import json
import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgequant import Error, __version__
from edgequant.options import (
    context_option,
    converter_option,
    device_option,
    formats_option,
    json_option,
    limit_options,
    making_options,
    model_argument,
    onnx_options,
    out_option,
    run_argument,
    tasks_option,
    together,
)
from edgequant.progress import Progress

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgequant.pipeline import Run
    from edgequant.profiles.request import Request
    from edgequant.report.answer import Limits
    from edgequant.report.table import Report

F = TypeVar("F", bound=Callable[..., Any])
_ANYWHERE = ("-q", "--quiet", "-v", "--verbose")


class Commands(click.Group):
    """Commands in the order in which a run goes through them, and one place where an `Error` becomes one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of definition."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take -q and -v wherever they stand."""
        own = args[: args.index("--")] if "--" in args else args
        flags = [word for word in own if word in _ANYWHERE]
        return super().parse_args(ctx, [*flags, *(w for w in own if w not in _ANYWHERE), *args[len(own) :]])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a bug keeps its traceback."""
        try:
            return super().invoke(ctx)
        except Error as error:
            from edgequant.report.terminal import printable  # names from a stranger's file may hold escapes

            hint = f" ({error.hint})" if error.hint else ""
            click.echo(printable(f"edgequant: {error}{hint}"), err=True)
            ctx.exit(1)
        except OSError as error:  # a full disk, a file that may not be read
            click.echo(f"edgequant: {error.strerror or error}: {error.filename or 'no file named'}", err=True)
            ctx.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgequant")
@click.option("--quiet", "-q", is_flag=True, help="Print the answer alone, no progress.")
@click.option("--verbose", "-v", is_flag=True, help="Print each step on a line of its own, with times.")
@click.pass_context
def main(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Pick a quant level: convert a checkpoint, measure every variant, say which file to ship."""
    ctx.obj = Progress(quiet=quiet, verbose=verbose)
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)


@main.command()
@model_argument
@together(formats_option, device_option, context_option, out_option, tasks_option)
@making_options
@onnx_options
@json_option
@click.pass_obj
def run(progress: Progress, /, as_json: bool, **options: Any) -> None:
    """Convert, measure and compare MODEL: a folder, a GGUF file, a Hub id, or `demo`."""
    from edgequant import pipeline
    from edgequant.report import listings

    request = _request(**options)
    with progress.shown() as listen:
        report = pipeline.run(request, listen, planned=lambda made: progress.show(listings.plan(made)))
    _print_report(report, request.out, as_json=as_json)


@main.command()
@model_argument
@together(device_option, formats_option, context_option, converter_option)
@json_option
def plan(as_json: bool, **options: Any) -> None:
    """Predict size, memory and fit of each format of MODEL, before anything is converted."""
    from edgequant import pipeline
    from edgequant.report import listings

    made = pipeline.predict(_request(**options))
    _print(made.to_json(), listings.plan(made), as_json=as_json)


@main.command()
@model_argument
@together(formats_option, out_option)
@making_options
@onnx_options
@json_option
@click.pass_obj
def convert(progress: Progress, /, as_json: bool, **options: Any) -> None:
    """Convert MODEL to artifacts in a run folder, and check them against the checkpoint."""
    from edgequant import pipeline
    from edgequant.report import listings

    with progress.shown() as listen:
        job = pipeline.Run(request=_request(**options), listen=listen)
        progress.show(listings.plan(job.plan()))
        job.check_disk()
        job.convert()
        if job.request.verify:
            job.verify()
        job.tidy()
    made = job.artifacts()
    _print([artifact.to_json() for artifact in made], listings.artifacts(made), as_json=as_json)


@main.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--checkpoint", default="", help="What a GGUF outside a run came from: a folder, a GGUF or a Hub id.")
@json_option
@click.pass_obj
def verify(progress: Progress, /, artifact: Path, checkpoint: str, as_json: bool) -> None:
    """Check ARTIFACT, a GGUF file or an ONNX folder, against the checkpoint that it came from."""
    from edgequant import pipeline
    from edgequant.report import listings
    from edgequant.verify.gate import has_failed

    with progress.shown() as listen:
        checked = pipeline.verify(artifact, checkpoint=checkpoint, listen=listen)
    _print(checked.to_json(), listings.checks(checked), as_json=as_json)
    if has_failed(checked):
        raise click.exceptions.Exit(1)


@main.command()
@run_argument
@together(device_option, context_option)
@json_option
@click.pass_obj
def profile(progress: Progress, /, run_folder: Path, as_json: bool, **options: Any) -> None:
    """Measure load time, prefill, decode and memory of the artifacts in RUN."""
    job = _resumed(progress, run_folder, **options)
    with progress.shown():
        job.profile()
    _print_report(job.report(), run_folder, as_json=as_json)


@main.command()
@run_argument
@tasks_option
@json_option
@click.pass_obj
def evaluate(progress: Progress, /, run_folder: Path, as_json: bool, **options: Any) -> None:
    """Measure divergence and accuracy of the artifacts in RUN against the unquantised model."""
    job = _resumed(progress, run_folder, **options)
    with progress.shown():
        job.evaluate()
        job.tidy()
    _print_report(job.report(), run_folder, as_json=as_json)


@main.command()
@run_argument
@json_option
def report(run_folder: Path, as_json: bool) -> None:
    """Rebuild the report of RUN from its stored rows."""
    from edgequant.profiles.run_folder import RunFolder
    from edgequant.report.rebuild import rebuild

    _print_report(rebuild(RunFolder(run_folder)), run_folder, as_json=as_json)


@main.command()
@run_argument
@limit_options
@json_option
def pick(run_folder: Path, as_json: bool, **limits: Any) -> None:
    """Say which file of RUN to ship under the limits given, without measuring again."""
    from edgequant.profiles.run_folder import RunFolder
    from edgequant.report import stored, terminal
    from edgequant.report.rebuild import compare

    answer = compare(RunFolder(run_folder), limits=_limits(limits)).answer
    _print(stored.encode(answer), terminal.answer(answer), as_json=as_json)
    if answer.pick is None:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--context", type=click.IntRange(min=1), help="Context in tokens for the memory [4096, or the trained one if less]."
)
@json_option
def inspect(path: Path, context: int | None, as_json: bool) -> None:
    """Show what a GGUF, an ONNX folder or a checkpoint holds and states, without loading its weights."""
    from edgequant.convert.description import describe
    from edgequant.report import described

    found = describe(path)
    _print(described.to_json(found, context), described.listing(found, context), as_json=as_json)


@main.command()
@click.argument("name", required=False)
@json_option
def devices(name: str | None, as_json: bool) -> None:
    """List the device profiles, or show one."""
    from edgequant.profiles import device
    from edgequant.report import listings

    found = [device.load(each) for each in ([name] if name else device.names())]
    shown = listings.device(found[0]) if name else listings.devices(found)
    _print([asdict(each) for each in found], shown, as_json=as_json)


def _name(model: str) -> str:
    """The last part of a path or Hub id, without .gguf."""
    return Path(model).resolve().name.removesuffix(".gguf")


def _request(
    *,
    model: str,
    formats: str | None = None,
    device: str | None = None,
    context: int | None = None,
    out: Path | None = None,
    tasks: tuple[str, ...] = (),
    no_verify: bool = False,
    keep_intermediate: bool = False,
    split_max_bytes: int = 0,
    converter: Path | None = None,
    allow_nan: bool = False,
    smooth: bool = False,
    **onnx: Any,
) -> "Request":
    from edgequant.convert.formats import DEFAULT_FORMATS, with_smoothed
    from edgequant.convert.onnx_options import OnnxOptions
    from edgequant.profiles.device import HOST, load
    from edgequant.profiles.host import machine
    from edgequant.profiles.kernels import suited
    from edgequant.profiles.request import Request

    profile = load(device or HOST)
    named = tuple(formats.split(",")) if formats else DEFAULT_FORMATS
    return Request(
        source=model,
        out=out or Path("runs") / _name(model),
        device=profile,
        context=context or profile.context,
        formats=with_smoothed(named) if smooth else named,
        tasks=tasks,
        verify=not no_verify,
        keep_intermediate=keep_intermediate,
        split_max_bytes=split_max_bytes,
        converter=converter,
        allow_nan=allow_nan,
        onnx=OnnxOptions(**{**onnx, **suited(profile.isa, machine().isa)}),
        command=shlex.join(["edgequant", *sys.argv[1:]]),
    )


def _resumed(
    progress: Progress,
    run_folder: Path,
    *,
    device: str | None = None,
    context: int | None = None,
    tasks: tuple[str, ...] = (),
) -> "Run":
    """The run in a folder, with what was asked then unless an option says otherwise."""
    from edgequant import pipeline
    from edgequant.profiles.device import load
    from edgequant.profiles.request import request_of
    from edgequant.profiles.run_folder import RunFolder

    request = request_of(RunFolder(run_folder))
    changes: dict[str, Any] = {"device": load(device)} if device else {}
    changes |= {"context": context} if context else {}
    changes |= {"tasks": tasks} if tasks else {}
    return pipeline.Run(request=replace(request, **changes), listen=progress)


def _limits(values: dict[str, Any]) -> "Limits | None":
    """The limits given; None where none was, which leaves the device's own."""
    from edgequant.report.answer import Limits

    given = {name: value for name, value in values.items() if value is not None}
    given |= {"max_memory_bytes": given.pop("max_memory")} if "max_memory" in given else {}
    given |= {"max_size_bytes": given.pop("max_size")} if "max_size" in given else {}
    return Limits(**given)


def _print_report(report: "Report", folder: Path, *, as_json: bool) -> None:
    from edgequant.report import stored, terminal

    _print(stored.to_json(report), terminal.table(report), as_json=as_json)
    if not as_json:
        click.echo(f"\nReport: {folder / 'report.html'}")


def _print(values: Any, shown: "RenderableType", *, as_json: bool) -> None:
    """The answer on stdout: JSON for programs, else for people."""
    if as_json:
        click.echo(json.dumps(values, indent=1, default=str))
        return
    from rich.console import Console

    Console().print(shown)


if __name__ == "__main__":
    main(prog_name="edgequant")
