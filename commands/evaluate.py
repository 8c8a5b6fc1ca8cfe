"""Divergence and accuracy of a run's artifacts."""

from pathlib import Path
from typing import Any

import click

from ..progress import Progress
from .asked import resumed
from .options import json_option, run_argument, tasks_option, together, unpack_option
from .printing import print_report


@click.command()
@run_argument
@together(tasks_option, unpack_option)
@json_option
@click.pass_obj
def evaluate(progress: Progress, /, run_folder: Path, as_json: bool, **options: Any) -> None:
    """Measure divergence and accuracy of the artifacts in RUN, a run or a bundle, against the unquantised model."""
    job = resumed(progress, run_folder, **options)
    with progress.shown():
        job.evaluate()
        job.tidy()
    print_report(job.report(), job.folder.path, as_json=as_json)
