"""What each format will need."""

from typing import Any

import click

from .asked import requested
from .options import (
    context_option,
    converter_option,
    device_option,
    formats_option,
    json_option,
    model_argument,
    together,
)
from .printing import print_answer


@click.command()
@model_argument
@together(device_option, formats_option, context_option, converter_option)
@json_option
def plan(as_json: bool, **options: Any) -> None:
    """Predict size, memory, speed and fit of each format of MODEL, before anything is downloaded or converted."""
    from .. import pipeline
    from ..report import plan_listing

    made = pipeline.predict(requested(**options))
    print_answer(made.to_json(), plan_listing.plan(made), as_json=as_json)
