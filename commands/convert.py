"""Making artifacts."""

from typing import Any

import click

from ..progress import Progress
from .asked import requested
from .options import formats_option, json_option, making_options, model_argument, onnx_options, out_option, together
from .printing import print_answer


@click.command()
@model_argument
@together(formats_option, out_option)
@making_options
@onnx_options
@json_option
@click.pass_obj
def convert(progress: Progress, /, as_json: bool, **options: Any) -> None:
    """Convert MODEL to artifacts in a run folder, and check them against the checkpoint."""
    from .. import pipeline
    from ..report import listings, plan_listing

    with progress.shown() as listen:
        job = pipeline.Run(request=requested(**options), listen=listen)
        progress.show(plan_listing.plan(job.plan()))
        job.making.check_disk()
        job.convert()
        if job.request.verify:
            job.verify()
        job.tidy()
    made = job.artifacts()
    print_answer([artifact.to_json() for artifact in made], listings.artifacts(made), as_json=as_json)
