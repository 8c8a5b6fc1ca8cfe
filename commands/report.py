"""The report, from stored rows."""

from pathlib import Path

import click

from ..progress import Progress
from .asked import run_folder_of
from .options import json_option, run_argument, together, unpack_option
from .printing import print_report


@click.command()
@run_argument
@together(
    click.option(
        "--add",
        "others",
        metavar="FILE",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Take in a device's results.jsonl, measured on a bundle of RUN; may be repeated.",
    ),
    unpack_option,
)
@json_option
@click.pass_obj
def report(progress: Progress, /, run_folder: Path, others: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Rebuild the report of RUN, a run or a bundle, from its stored rows."""
    from ..profiles.records.other_machines import take_in
    from ..report.rebuild import rebuild

    folder = run_folder_of(progress, run_folder, out=out)
    for file in others:
        taken = take_in(folder, file)
        progress("took in", "", f"{taken.n_new} rows of {file}, {taken.n_known} were here")
    print_report(rebuild(folder), folder.path, as_json=as_json)
