"""One artifact against its checkpoint."""

from pathlib import Path

import click

from ..progress import Progress
from .options import json_option
from .printing import print_answer


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--checkpoint", default="", help="What a GGUF outside a run came from: a folder, a GGUF or a Hub id.")
@json_option
@click.pass_obj
def verify(progress: Progress, /, artifact: Path, checkpoint: str, as_json: bool) -> None:
    """Check ARTIFACT, a GGUF file or an ONNX folder, against the checkpoint that it came from."""
    from .. import pipeline
    from ..report import listings
    from ..verify.gate import has_failed

    with progress.shown() as listen:
        checked = pipeline.verify(artifact, checkpoint=checkpoint, listen=listen)
    print_answer(checked.to_json(), listings.checks(checked), as_json=as_json)
    if has_failed(checked):
        raise click.exceptions.Exit(1)
