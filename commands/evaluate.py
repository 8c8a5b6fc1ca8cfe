"""Divergence and accuracy of a run's artifacts."""

from pathlib import Path
from typing import Any

import click

from ..progress import Progress
from .asked import resumed
from .options import json_option, run_argument, tasks_option
from .printing import print_report


@click.command()
@run_argument
@tasks_option
@json_option
@click.pass_obj
def evaluate(progress: Progress, /, run_folder: Path, as_json: bool, **options: Any) -> None:
    """Measure divergence and accuracy of the artifacts in RUN against the unquantised model."""
    job = resumed(progress, run_folder, **options)
    with progress.shown():
        job.evaluate()
        job.tidy()
    print_report(job.report(), run_folder, as_json=as_json)
