"""The whole job."""

from typing import Any

import click

from ..progress import Progress
from .asked import requested
from .options import (
    context_option,
    device_option,
    formats_option,
    json_option,
    making_options,
    model_argument,
    onnx_options,
    out_option,
    tasks_option,
    together,
)
from .printing import print_report


@click.command()
@model_argument
@together(formats_option, device_option, context_option, out_option, tasks_option)
@making_options
@onnx_options
@json_option
@click.pass_obj
def run(progress: Progress, /, as_json: bool, **options: Any) -> None:
    """Convert, measure and compare MODEL: a folder, a GGUF file, a Hub id, or `demo`."""
    from .. import pipeline

    request = requested(**options)
    with progress.shown() as listen:
        report = pipeline.run(request, listen, planned=progress.ahead)
    print_report(report, request.out, as_json=as_json)
