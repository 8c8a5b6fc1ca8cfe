"""The answer under other limits."""

from pathlib import Path
from typing import Any

import click

from ..progress import Progress
from .asked import limits_of, run_folder_of
from .options import json_option, limit_options, run_argument
from .printing import print_answer


@click.command()
@run_argument
@limit_options
@json_option
@click.pass_obj
def pick(progress: Progress, /, run_folder: Path, as_json: bool, **limits: Any) -> None:
    """Say which file of RUN to ship under the limits given, without measuring again."""
    from ..report import stored, terminal
    from ..report.rebuild import compare

    answer = compare(run_folder_of(progress, run_folder), limits=limits_of(limits)).answer
    print_answer(stored.encode(answer), terminal.answer(answer), as_json=as_json)
    if answer.pick is None:
        raise click.exceptions.Exit(1)
