"""What a file states."""

from pathlib import Path

import click

from .options import json_option
from .printing import print_answer


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--context", type=click.IntRange(min=1), help="Context in tokens for the memory [4096, or the trained one if less]."
)
@json_option
def inspect(path: Path, context: int | None, as_json: bool) -> None:
    """Show what a GGUF, an ONNX folder or a checkpoint holds and states, without loading its weights."""
    from ..convert.description import describe
    from ..report import described

    found = describe(path)
    print_answer(described.to_json(found, context), described.listing(found, context), as_json=as_json)
