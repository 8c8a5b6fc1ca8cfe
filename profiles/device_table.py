"""The TOML table of one device, one of ours or one that a probe wrote: which keys it has, and what is refused."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import Error
from ..convert.formats import FORMATS
from ..convert.ladder import BLOCKS
from ..runtimes.session import RUNTIMES
from .machine import host

FOLDER = Path(__file__).parent / "devices"
UNSOURCED = "unsourced"
METHODS = ("read", "scan", "memset", "memcpy")
LEAST_CONTEXT = 128  # tokens: what `--context` takes at least
_COUNT, _RATE, _TEXT, _TEXTS, _TABLE = "count", "rate", "text", "list of texts", "table"
_ROWS, _FACTS, _ZERO_OR_MORE = "list of tables", "table of facts", "number of zero or more"

#: key of a profile -> what TOML value it takes; `name` is the file's name
KEYS: Mapping[str, str] = {
    "title": _TEXT,
    "cpu_names": _TEXTS,
    "cores": _ROWS,
    "isa": _TEXTS,
    "ram_bytes": _COUNT,
    "usable_ram_bytes": _COUNT,
    "theoretical_bandwidth_bytes_per_second": _RATE,
    "measured_bandwidth_bytes_per_second": _RATE,
    "bandwidth_method": _TEXT,
    "prefill_threads": _COUNT,
    "decode_threads": _COUNT,
    "context": _COUNT,
    "storage_bytes_per_second": _RATE,
    "throttling": _TEXT,
    "slow_formats": _TEXTS,
    "notes": _TEXTS,
    "sources": _TABLE,
    # what a probe writes
    "read_bandwidths": _ROWS,
    "kernels": _ROWS,
    "probe": _FACTS,
}
_REQUIRED = ("title", "cores", "isa", "ram_bytes", "usable_ram_bytes", "prefill_threads", "decode_threads", "context")
#: keys of the tables in a list, and those of them that may be left out
_ROW_KEYS: Mapping[str, Mapping[str, str]] = {
    "cores": {"kind": _TEXT, "count": _COUNT, "clock_hz": _RATE},
    "read_bandwidths": {"threads": _COUNT, "bytes_per_second": _RATE},
    "kernels": {
        "container": _TEXT,
        "type": _TEXT,
        "threads": _COUNT,
        "weights_per_second_decode": _RATE,
        "weights_per_second_prefill": _RATE,
        "layer_seconds": _ZERO_OR_MORE,
        "token_seconds": _ZERO_OR_MORE,
    },
}
_OPTIONAL_IN_ROWS = ("clock_hz", "layer_seconds", "token_seconds")
#: what says nothing that a source could be asked for
_NO_FIGURES = ("title", "bandwidth_method", "notes", "sources", "probe")
_WORDS = {_COUNT: "positive whole number", _RATE: "positive number"}


def names() -> list[str]:
    """Names of the profiles that come with edgequant."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def path_of(name_or_path: str, *, known: Sequence[str]) -> Path:
    """The file of a profile, by its name or its path; `Error` names the nearest of the `known`."""
    if name_or_path.endswith(".toml"):
        return Path(name_or_path)
    if name_or_path not in names():
        near = nearest(name_or_path, known)
        suggestion = f"did you mean {near}? " if near else ""
        raise Error(
            f"unknown device {name_or_path!r}",
            hint=f"{suggestion}known: {', '.join(known)}; or the path of a .toml file",
        )
    return FOLDER / f"{name_or_path}.toml"


def read(path: Path) -> dict[str, Any]:
    """Read and check one profile; `Error` for what cannot be read and for what is not right."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Error(f"cannot read the device {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Error(f"{path} is not TOML: {error}") from None
    _check(str(path), table, KEYS, _REQUIRED)
    for key, kinds in _ROW_KEYS.items():
        for row in table.get(key, ()):
            _check(f"{path}, [[{key}]]", row, kinds, [name for name in kinds if name not in _OPTIONAL_IN_ROWS])
    _check_figures(path, table)
    _check_names(path, table)
    return table


def sources(table: Mapping[str, Any]) -> dict[str, str]:
    """Figure -> where it comes from, for every figure of the table; "unsourced" where nobody says."""
    return {key: table.get("sources", {}).get(key, UNSOURCED) for key in table if key not in _NO_FIGURES}


def _check(where: str, table: Mapping[str, Any], kinds: Mapping[str, str], required: Sequence[str]) -> None:
    known = f"keys: {', '.join(kinds)}"
    for key in sorted(table.keys() - kinds.keys()):
        near = nearest(key, kinds, cutoff=0.6)
        raise Error(f"{where}: unknown key {key!r}", hint=f"did you mean {near}?" if near else known)
    for key in required:
        if key not in table:
            raise Error(f"{where}: the key {key!r} is missing", hint=known)
    for key, value in table.items():
        if not _fits(value, kinds[key]):
            raise Error(f"{where}: {key} = {value!r} is no {_WORDS.get(kinds[key], kinds[key])}")


def _check_figures(path: Path, table: Mapping[str, Any]) -> None:
    if table["usable_ram_bytes"] > table["ram_bytes"]:
        raise Error(f"{path}: usable_ram_bytes is more than ram_bytes")
    if ("measured_bandwidth_bytes_per_second" in table) != ("bandwidth_method" in table):
        raise Error(f"{path}: measured_bandwidth_bytes_per_second and bandwidth_method go together")
    if table.get("bandwidth_method", METHODS[0]) not in METHODS:
        raise Error(f"{path}: bandwidth_method is none of {', '.join(METHODS)}")
    if table["context"] < LEAST_CONTEXT:
        raise Error(f"{path}: context = {table['context']} is less than {LEAST_CONTEXT} tokens")
    n_cores = sum(each["count"] for each in table["cores"])
    for key in ("prefill_threads", "decode_threads"):
        if table[key] > n_cores:
            raise Error(f"{path}: {key} is more than the {n_cores} cores")
    for key in sorted(table.get("sources", {}).keys() - table.keys()):
        raise Error(f"{path}: sources names {key!r}, which the table does not have")


def _check_names(path: Path, table: Mapping[str, Any]) -> None:
    """Refuse instruction sets, containers and types that nothing here goes by: what rests on them would be off."""
    for name in table["isa"]:
        _check_name(f"{path}: isa", name, list(dict.fromkeys(host.ISA_NAMES.values())))
    for row in table.get("kernels", ()):
        _check_name(f"{path}, [[kernels]]: container", row["container"], list(RUNTIMES))
        _check_name(f"{path}, [[kernels]]: type", row["type"], _types(row["container"]))


def _types(container: str) -> Sequence[str]:
    """What a kernel's weights may be; earlier probes timed IQ4_NL besides."""
    if container == "gguf":
        return (*BLOCKS, "IQ4_NL")
    return [name for name, fmt in FORMATS.items() if fmt.container == container]


def _check_name(where: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        by_kernel = host.ISA_NAMES.get(name.lower(), "")  # Linux's own spelling of an instruction set
        near = by_kernel if by_kernel in known else nearest(name, known)
        suggestion = f"did you mean {near}? " if near else ""
        raise Error(f"{where}: {name!r} is not known", hint=f"{suggestion}known: {', '.join(known)}")


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.4) -> str:
    """The known name that was most likely meant, whatever its case; "" where none is near."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else ""


def _fits(value: Any, kind: str) -> bool:
    if kind in (_COUNT, _RATE):
        numbers = int if kind == _COUNT else int | float
        return isinstance(value, numbers) and not isinstance(value, bool) and 0 < value < float("inf")
    if kind == _TEXT:
        return isinstance(value, str)
    if kind == _ZERO_OR_MORE:
        return value == 0 or _fits(value, _RATE)
    if kind == _ROWS:
        return isinstance(value, list) and len(value) > 0 and all(isinstance(item, dict) for item in value)
    if kind == _FACTS:
        return isinstance(value, dict)
    items = value.values() if kind == _TABLE and isinstance(value, dict) else value
    return isinstance(value, dict if kind == _TABLE else list) and all(isinstance(item, str) for item in items)
