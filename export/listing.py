"""What was bundled, and what to do with it, for the terminal."""

from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from ..report.numbers import size
from ..report.terminal import printable
from .bundle import Bundle, folder_name


def bundle(made: Bundle) -> RenderableType:
    """What lies in the tar, and the lines to type on the device."""
    name = Path(made.path).name
    folder = folder_name(Path(name))
    lines = [
        f"{made.path}  {size(made.size_bytes)}: {', '.join(made.formats)}",
        f"  compared there with {made.reference}, whose log-probabilities take {size(made.reference_bytes)}",
    ]
    if made.wheels:
        lines.append(f"  with {len(made.wheels)} wheels; on the device:")
        steps = [f"tar xf {name}", f"{folder}/install.sh", f"{folder}/venv/bin/edgequant profile {folder}"]
        steps.append(f"{folder}/venv/bin/edgequant evaluate {folder}")
    else:
        lines.append("  on the device, where edgequant is installed:")
        steps = [f"edgequant profile {name}", f"edgequant evaluate {name}"]
    lines += [f"    {step}" for step in steps]
    lines.append(
        f"  and back here, with the {folder}/results.jsonl from there:  edgequant report RUN --add results.jsonl"
    )
    return Group(*(Text(printable(line)) for line in lines))
