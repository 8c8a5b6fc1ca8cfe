"""The answer under other limits."""

from pathlib import Path
from typing import Any

import click

from .asked import limits_of
from .options import json_option, limit_options, run_argument
from .printing import print_answer


@click.command()
@run_argument
@limit_options
@json_option
def pick(run_folder: Path, as_json: bool, **limits: Any) -> None:
    """Say which file of RUN to ship under the limits given, without measuring again."""
    from ..profiles.run_folder import RunFolder
    from ..report import stored, terminal
    from ..report.rebuild import compare

    answer = compare(RunFolder(run_folder), limits=limits_of(limits)).answer
    print_answer(stored.encode(answer), terminal.answer(answer), as_json=as_json)
    if answer.pick is None:
        raise click.exceptions.Exit(1)
