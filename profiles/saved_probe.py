"""What a probe of this machine found, kept in the user's own folder: a profile that `--device` takes elsewhere, too.

It holds as long as the machine is the same: its processor's name, and the threads that affinity and quota leave.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.atomic import write_text
from . import device_table
from .machine.host import Machine

#: figures that a probe measures; all others are looked at anew each time
MEASURED = (
    "measured_bandwidth_bytes_per_second",
    "bandwidth_method",
    "read_bandwidths",
    "storage_bytes_per_second",
    "prefill_threads",
    "decode_threads",
    "kernels",
)
_HEAD = "# Written by edgequant: bytes, bytes or weights a second, hertz. Elsewhere it is taken as --device FILE.\n"


def path() -> Path:
    """Where the profile of this machine is kept.

    EDGEQUANT_CONFIG_DIR names edgequant's own folder; else it lies where the system keeps settings
    (XDG_CONFIG_HOME, ~/.config, %APPDATA%).
    """
    own = os.environ.get("EDGEQUANT_CONFIG_DIR")
    if own:
        return Path(own) / "devices" / "host.toml"
    windows = os.environ.get("APPDATA") if sys.platform == "win32" else ""
    settings = windows or os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "edgequant" / "devices" / "host.toml"


def recall(here: Machine) -> dict[str, Any]:
    """The saved table's measured figures and their sources, as long as it is of this machine; {} where there is none.

    A file that is not right is said in the log and left alone: plans go on without it.
    """
    table = read()
    if table.get("probe", {}).get("cpu") != here.cpu or table["probe"].get("threads") != here.threads:
        return {}
    figures = {key: table[key] for key in MEASURED if key in table}
    given = table.get("sources", {})
    return {**figures, "sources": {key: given[key] for key in figures if key in given}}


def read() -> dict[str, Any]:
    """The whole saved table; {} where there is none, or none that is right."""
    file = path()
    if not file.is_file():
        return {}
    try:
        return device_table.read(file)
    except Error as error:
        logging.getLogger(__name__).warning("%s; `edgequant devices probe --save` writes it anew", error)
        return {}


def write(table: Mapping[str, Any]) -> Path:
    """Replace the saved table; `Error` where it cannot be written."""
    file = path()
    write_text(file, _HEAD + as_toml(table))
    return file


def as_toml(table: Mapping[str, Any]) -> str:
    """TOML of a table: plain values, lists of texts, then tables, and lists of tables, one level deep.

    What is None is left out, for TOML has no word for it.
    """
    plain = [f"{key} = {_value(value)}" for key, value in table.items() if not _nested(value) and value is not None]
    parts = ["\n".join(plain)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            parts.append(_section(f"[{key}]", value))
        elif _nested(value):
            parts += [_section(f"[[{key}]]", row) for row in value]
    return "\n\n".join(parts) + "\n"


def _nested(value: Any) -> bool:
    rows = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(row, Mapping) for row in rows)


def _section(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in values.items() if value is not None)])


def _value(value: Any) -> str:
    """JSON's way to write texts, whole numbers and lists of texts is TOML's too, but for one character and floats."""
    if isinstance(value, float):
        return f"{value:.6g}" if value != int(value) or abs(value) >= 1e16 else f"{value:.1f}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
