"""What each format will need."""

from pathlib import Path
from typing import Any

import click

from ..progress import Progress
from .asked import requested
from .options import (
    context_option,
    converter_option,
    device_option,
    formats_option,
    json_option,
    model_argument,
    onnx_options,
    together,
)
from .printing import print_answer

_run_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of a run of MODEL, whose rows measured on the device put the speeds right [runs/NAME].",
)


@click.command()
@model_argument
@together(device_option, formats_option, context_option, converter_option, _run_option)
@onnx_options
@json_option
@click.pass_obj
def plan(progress: Progress, /, as_json: bool, **options: Any) -> None:
    """Predict size, memory, speed and fit of each format of MODEL, before anything is downloaded or converted."""
    from .. import pipeline
    from ..report import plan_listing

    request = requested(**options)
    with progress.shown() as listen:
        made = pipeline.predict(request, progress=lambda text: listen("plan", "", text))
    print_answer(made.to_json(), plan_listing.plan(made), as_json=as_json)
