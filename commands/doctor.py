"""What this machine can do."""

from pathlib import Path

import click

from ..progress import Progress
from .options import json_option
from .printing import print_answer


@click.command()
@json_option
@click.pass_obj
def doctor(progress: Progress, /, as_json: bool) -> None:
    """Examine this machine: engines, kernels, memory, disk, and what mends each problem."""
    from ..profiles.doctor.examination import examine
    from ..report import doctor_listing

    with progress.shown() as listen:
        found = examine(folder=Path.cwd(), progress=lambda text: listen("examine", "this machine", text))
    print_answer(found.to_json(), doctor_listing.diagnosis(found), as_json=as_json)
    if not found.runs:
        raise click.exceptions.Exit(1)
