"""Speed and memory of a run's artifacts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..progress import Progress
from .asked import check_out, resumed
from .options import (
    Counts,
    Duration,
    Limit,
    context_option,
    device_option,
    json_option,
    run_argument,
    together,
    unpack_option,
)
from .printing import print_answer, print_report

if TYPE_CHECKING:
    from ..profiles.measuring.profiling import Profiling

CACHE_TYPES = ("f16", "q8_0", "q4_0")
AUTO, SWEEP = "auto", "sweep"
variant_options = together(
    click.option("--formats", metavar="LIST", help="Only these formats, separated by commas [all]."),
    click.option("--repetitions", type=click.IntRange(min=1), help="How often, over two rounds [6]."),
    click.option("--depth", metavar="LIST", type=Counts(least=0), help="Tokens in the cache before the prompt [0]."),
    click.option("--sequences", metavar="LIST", type=Counts(), help="Users side by side, such as 1,2,4,8 [1]."),
    click.option("--batch", metavar="LIST", type=Counts(), help="Tokens of a prompt at once [the engine's choice]."),
    click.option(
        "--threads",
        metavar="auto|N|sweep",
        default=AUTO,
        help="Threads; sweep finds the best for prefill and decode, and remembers them [auto: the device's].",
    ),
    click.option("--prefill-threads", metavar="LIST", type=Counts(), help="Threads of prefill alone."),
    click.option("--cache-type", metavar="LIST", help=f"Of keys and values: {', '.join(CACHE_TYPES)} [f16]."),
    click.option(
        "--flash-attention", type=click.Choice([AUTO, "on", "off"]), default=AUTO, help="Flash attention [auto]."
    ),
    click.option("--no-mmap", is_flag=True, help="Read the file into memory instead of mapping it."),
    click.option("--no-repack", is_flag=True, help="Leave out llama.cpp's repacked copy of the weights."),
    click.option(
        "--limit-memory", "limit_memory_bytes", metavar="SIZE", type=Limit(), help="Run within so much, such as 1GB."
    ),
    click.option(
        "--sustained", "sustained_seconds", metavar="TIME", type=Duration(), help="Decode for so long, such as 10m."
    ),
)


@click.command()
@run_argument
@together(device_option, context_option, unpack_option)
@variant_options
@json_option
@click.pass_obj
def profile(
    progress: Progress,
    /,
    run_folder: Path,
    device: str | None,
    context: int | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure load time, prefill, decode and memory of the artifacts in RUN: a run, a bundle, or a file of its own.

    Options that change how a file is run make variants, which are measured beside the plain run and get a table of
    their own. Several values of several options are combined.
    """
    from ..profiles.records.lone_artifact import is_artifact

    asked = profiling(**options)
    if is_artifact(run_folder):
        check_out(out)
        return _alone(progress, run_folder, asked, device=device, context=context, as_json=as_json)
    job = resumed(progress, run_folder, device=device, context=context, out=out)
    with progress.shown():
        job.profile(asked)
    print_report(job.report(), job.folder.path, as_json=as_json)


def _alone(
    progress: Progress, path: Path, asked: "Profiling", *, device: str | None, context: int | None, as_json: bool
) -> None:
    from .. import pipeline
    from ..profiles.device import HOST, load
    from ..report import terminal, variants

    there = load(device or HOST)
    with progress.shown():
        rows = pipeline.profile_alone(path, asked, device=there, context=context or there.context, listen=progress)
    shown = terminal.variants(variants.rows((), rows, every=True))
    print_answer([row.to_json() for row in rows], shown, as_json=as_json)


def profiling(
    *, formats: str | None, repetitions: int | None, threads: str, flash_attention: str, **differs: Any
) -> "Profiling":
    """What the options ask; those that list several values are combined with each other."""
    from ..profiles.measuring.profiling import Profiling
    from ..profiles.measuring.variant import combined

    choices = {name: values for name in ("depth", "sequences", "batch", "prefill_threads") if (values := differs[name])}
    choices |= {"cache_type": _cache_types(differs["cache_type"])} if differs["cache_type"] else {}
    choices |= {"flash_attention": [flash_attention == "on"]} if flash_attention != AUTO else {}
    choices |= {"threads": _threads(threads)} if threads not in (AUTO, SWEEP) else {}
    choices |= {name: [False] for name in ("mmap", "repack") if differs[f"no_{name}"]}
    choices |= {name: [differs[name]] for name in ("limit_memory_bytes", "sustained_seconds") if differs[name]}
    return Profiling(
        variants=combined(choices),
        repetitions=repetitions,
        formats=tuple(formats.split(",")) if formats else (),
        sweep=threads == SWEEP,
    )


def _cache_types(listed: str) -> list[str]:
    names = listed.split(",")
    for name in names:
        if name not in CACHE_TYPES:
            raise click.BadParameter(
                f"{name!r} is none of {', '.join(CACHE_TYPES)}",
                param_hint="--cache-type",
                ctx=click.get_current_context(),
            )
    return names


def _threads(listed: str) -> list[int]:
    return Counts().convert(listed, None, click.get_current_context())
