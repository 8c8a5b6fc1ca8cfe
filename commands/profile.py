"""Speed and memory of a run's artifacts."""

from pathlib import Path
from typing import Any

import click

from ..progress import Progress
from .asked import resumed
from .options import context_option, device_option, json_option, run_argument, together, unpack_option
from .printing import print_report


@click.command()
@run_argument
@together(device_option, context_option, unpack_option)
@json_option
@click.pass_obj
def profile(progress: Progress, /, run_folder: Path, as_json: bool, **options: Any) -> None:
    """Measure load time, prefill, decode and memory of the artifacts in RUN, a run or a bundle."""
    job = resumed(progress, run_folder, **options)
    with progress.shown():
        job.profile()
    print_report(job.report(), job.folder.path, as_json=as_json)
