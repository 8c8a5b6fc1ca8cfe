"""Sentences as comments of a script or a Modelfile."""

import textwrap

from ...report.terminal import printable


def comment(text: str) -> list[str]:
    """Lines that begin with #, none over 80 columns, none with anything but printable characters."""
    return [f"# {line}" for line in textwrap.wrap(printable(text), 78, break_on_hyphens=False)]
