"""Several models on one page."""

from pathlib import Path

import click

from .options import json_option
from .printing import print_answer


@click.command()
@click.argument("run_folders", metavar="RUN RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Also write it to a Markdown file.")
@click.option(
    "--by",
    type=click.Choice(["memory", "size"]),
    default="memory",
    show_default=True,
    help="What is held equal: the memory that must fit, or the size of the file.",
)
@json_option
def compare(run_folders: tuple[Path, ...], out: Path | None, by: str, as_json: bool) -> None:
    """Compare the models of several runs at equal memory, item by item: is the larger one quantised the better one?"""
    from ..convert.atomic import write_text
    from ..profiles.records.run_folder import RunFolder
    from ..report import models, models_listing, rebuild, stored

    found = models.compare([rebuild.compare(RunFolder(folder)) for folder in run_folders], by=by)
    if out:
        write_text(out, models_listing.markdown(found))
    print_answer(stored.encode(found), models_listing.listing(found), as_json=as_json)
