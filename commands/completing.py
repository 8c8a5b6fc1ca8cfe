"""What a shell may complete in the words of the command line: names of formats, devices and tasks."""

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem


def formats(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of formats; in a list that commas separate the last of them, those that are in it left out."""
    from ..convert.formats import FORMATS

    head, comma, last = incomplete.rpartition(",")
    left = [name for name in FORMATS if name not in head.split(",")]
    return [CompletionItem(f"{head}{comma}{name}", help=FORMATS[name].summary) for name in _starting(left, last)]


def devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of device profiles, or a file."""
    from ..profiles import device

    return _or_file(device.names(), incomplete)


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Built-in kinds of items and public sets, or a file."""
    from ..accuracy import items
    from ..accuracy.public.sets import SETS

    return _or_file([*(file.stem for file in items.built_in()), *SETS], incomplete)


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A folder or a file; `demo` where it was begun."""
    return _or_file(["demo"] if incomplete else [], incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def _or_file(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The names that begin so, or else what the shell knows of files."""
    found = [CompletionItem(name) for name in _starting(names, incomplete)]
    return found or [CompletionItem(incomplete, type="file")]
