"""Answers on stdout: JSON for programs, else for people."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..report.table import Report


def print_report(report: "Report", folder: Path, *, as_json: bool) -> None:
    """A report, and where its page lies."""
    from ..report import stored, terminal

    print_answer(stored.to_json(report), terminal.table(report), as_json=as_json)
    if not as_json:
        click.echo(f"\nReport: {folder / 'report.html'}")


def print_answer(values: Any, shown: "RenderableType", *, as_json: bool) -> None:
    """The answer on stdout: JSON for programs, else for people."""
    if as_json:
        click.echo(json.dumps(values, indent=1, default=str))
        return
    from rich.console import Console

    Console().print(shown)
