"""The report, from stored rows."""

from pathlib import Path

import click

from .options import json_option, run_argument
from .printing import print_report


@click.command()
@run_argument
@json_option
def report(run_folder: Path, as_json: bool) -> None:
    """Rebuild the report of RUN from its stored rows."""
    from ..profiles.run_folder import RunFolder
    from ..report.rebuild import rebuild

    print_report(rebuild(RunFolder(run_folder)), run_folder, as_json=as_json)
