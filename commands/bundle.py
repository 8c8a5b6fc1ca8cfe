"""A run's artifacts on their way to the device that is to measure them."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from ..progress import Progress
from .asked import resumed
from .options import json_option, run_argument, together
from .printing import print_answer


@click.command()
@run_argument
@together(
    click.option("--formats", metavar="LIST", help="Formats to take along, separated by commas [all that RUN holds]."),
    click.option(
        "--out", "-o", "target", type=click.Path(path_type=Path), help="The tar file to write [RUN-bundle.tar]."
    ),
    click.option("--device", help="Also take along what has to be installed on this device; see `devices`."),
    click.option(
        "--python",
        "pythons",
        metavar="LIST",
        help="With --device: versions of Python that may be there [3.11,3.13: Debian 12 and 13].",
    ),
)
@json_option
@click.pass_obj
def bundle(
    progress: Progress,
    /,
    run_folder: Path,
    formats: str | None,
    target: Path | None,
    device: str | None,
    pythons: str | None,
    as_json: bool,
) -> None:
    """Pack artifacts of RUN, its tasks and its reference's answers for a device that measures by itself."""
    from .. import Error, pipeline
    from ..export import bundle as writing
    from ..export import listing, wheelhouse
    from ..export.target import PYTHONS, target_of
    from ..profiles.device import load

    profile = load(device) if device else None
    wheels_for = target_of(profile) if profile else None
    job = resumed(progress, run_folder)
    if not isinstance(job, pipeline.Run):
        raise Error(f"{run_folder} is a bundle itself", hint="bundle the run that it was made from")
    with progress.shown() as listen, tempfile.TemporaryDirectory() as work:
        if wheels_for:
            versions = pythons.split(",") if pythons else PYTHONS
            wheelhouse.make(wheels_for, Path(work), pythons=versions, progress=lambda text: listen("wheels", "", text))
        contents = job.contents(formats.split(",") if formats else (), profile)
        listen("bundle", "", "")
        written = writing.write(contents, target or _beside(run_folder), installs=Path(work) if wheels_for else None)
        job.tidy()
    print_answer(asdict(written), listing.bundle(written), as_json=as_json)


def _beside(run_folder: Path) -> Path:
    path = run_folder.resolve()
    return path.with_name(f"{path.name}-bundle.tar")
