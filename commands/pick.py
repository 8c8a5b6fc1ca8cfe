"""The answer under other limits."""

from pathlib import Path
from typing import Any

import click

from ..progress import Progress
from . import completing
from .asked import limits_of, run_folder_of
from .options import json_option, limit_options, run_argument, together
from .printing import print_answer

_pick_options = together(
    click.option(
        "--max-divergence", type=click.FloatRange(min=0), help="Largest mean divergence from the reference, in nats."
    ),
    click.option(
        "--task",
        metavar="NAME",
        shell_complete=completing.tasks,
        help="Judge accuracy on these items alone: a kind such as mathematics, a difficulty, or a public set.",
    ),
    click.option(
        "--device",
        metavar="NAME",
        shell_complete=completing.devices,
        help="A device profile or a .toml file, whose memory is a limit and whose figures count, measured there or "
        "predicted [the run's own].",
    ),
    click.option("--native", is_flag=True, help="Count what the device itself measured alone, and no predictions."),
)


@click.command()
@run_argument
@limit_options
@_pick_options
@json_option
@click.pass_obj
def pick(
    progress: Progress, /, run_folder: Path, as_json: bool, device: str | None, task: str | None, **limits: Any
) -> None:
    """Say which file of RUN to ship under the limits given, how sure that is, and what would change it.

    Nothing is measured again. Limits come first, then what is preferred, then the tie-break.
    """
    from ..profiles.device import load
    from ..report import stored, terminal
    from ..report.answer import Limits
    from ..report.question import ask

    asked = limits_of({**limits, "task": task}) or Limits()
    answer = ask(run_folder_of(progress, run_folder), asked, device=load(device) if device else None)
    print_answer(stored.encode(answer), terminal.answer(answer), as_json=as_json)
    if answer.pick is None:
        raise click.exceptions.Exit(1)
