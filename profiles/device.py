"""A device: what a machine can hold and how it computes; one TOML table each in devices/."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from . import device_table, kernels, saved_probe
from .machine import host
from .machine.cores import Cores as Cores

HOST = "host"
DEFAULT_CONTEXT = 2048
UNSOURCED = device_table.UNSOURCED
THIS_MACHINE = "this machine: "  # begins the title of the machine that this runs on


@dataclass(frozen=True, kw_only=True)
class KernelSpeed:
    """How fast an engine multiplies with weights of one type, of a matrix too large for the caches.

    `type` is a tensor type ("Q4_K") for GGUF and a format's name ("onnx-int8") for ONNX. Weights per second are
    multiply-accumulates: decode one token at a time, prefill a batch of 128, where each weight counts once a token.
    In decode a layer takes `layer_seconds` besides its products, and a token `token_seconds` besides its layers.
    """

    container: str
    type: str
    threads: int
    weights_per_second_decode: float
    weights_per_second_prefill: float
    layer_seconds: float = 0.0
    token_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Device:
    """One machine; the fastest kind of cores comes first.

    `bandwidth_method` says what the measured bandwidth is of: "read", "scan", "memset" or "memcpy". `read_bandwidths`
    (threads, bytes per second) and `kernels` come from a probe. `throttling` says in words when it slows down.
    """

    name: str
    title: str
    cores: tuple[Cores, ...]
    isa: tuple[str, ...]
    ram_bytes: int
    usable_ram_bytes: int
    theoretical_bandwidth_bytes_per_second: float | None = None
    measured_bandwidth_bytes_per_second: float | None = None
    bandwidth_method: str = ""
    read_bandwidths: tuple[tuple[int, float], ...] = ()
    prefill_threads: int
    decode_threads: int
    context: int  # default context in tokens for plans and measurements
    storage_bytes_per_second: float | None = None
    throttling: str = ""
    slow_formats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kernels: tuple[KernelSpeed, ...] = ()
    cpu_names: tuple[str, ...] = ()  # what such a machine calls itself (`host.cpu_name`), "*" for what differs
    is_host: bool = False  # True for the machine this runs on

    @property
    def n_cores(self) -> int:
        """Cores of all kinds."""
        return sum(each.count for each in self.cores)

    @property
    def threads(self) -> int:
        """Threads for anything that has one count of them: those of decode."""
        return self.decode_threads


def from_json(values: Mapping[str, Any]) -> Device:
    """The reverse of `dataclasses.asdict`, after a way through JSON; reads what version 0.1 wrote as well."""
    given = _renewed(values)
    given |= {key: tuple(given[key]) for key in ("isa", "slow_formats", "notes", "cpu_names") if key in given}
    given["cores"] = tuple(Cores(**each) for each in given["cores"])
    given["read_bandwidths"] = tuple((int(n), float(rate)) for n, rate in given.get("read_bandwidths", ()))
    given["kernels"] = tuple(KernelSpeed(**each) for each in given.get("kernels", ()))
    return Device(**given)


def _renewed(values: Mapping[str, Any]) -> dict[str, Any]:
    """What version 0.1 wrote (a count of cores, one of threads, one bandwidth of either kind) in today's keys."""
    renewed = dict(values)
    if isinstance(values["cores"], int):
        renewed["cores"] = [{"kind": "", "count": values["cores"]}]
    if "threads" in values:
        renewed["prefill_threads"] = renewed["decode_threads"] = renewed.pop("threads")
    if "bandwidth_bytes_per_second" in values:
        renewed["measured_bandwidth_bytes_per_second"] = renewed.pop("bandwidth_bytes_per_second")
    return renewed


def names() -> list[str]:
    """Names of the profiles that come with edgequant, and "host" for this machine."""
    return [HOST, *device_table.names()]


def load(name_or_path: str) -> Device:
    """The device of that name, of a TOML file (a path that ends in .toml), or "host" for this machine.

    A file's device is called as the file is, without .toml; where that is the name of a profile of ours, or "host", as
    that of a probe saved elsewhere is, it keeps the ending ("host.toml"), so that the two are told apart.

    `Error` for a name that is not known (with the nearest), a file that cannot be read and a table that is not right.
    """
    if name_or_path == HOST:
        return host_device()
    path = device_table.path_of(name_or_path, known=names())
    table = device_table.read(path)
    slow = dict.fromkeys([*table.get("slow_formats", ()), *kernels.slow_formats(table["isa"])])
    said = {"name": _name(path), "title": table["title"].removeprefix(THIS_MACHINE), "cpu_names": _cpu_names(table)}
    return from_json({**_figures(table), **said, "slow_formats": list(slow)})


def _name(path: Path) -> str:
    is_ours = path.resolve().parent == device_table.FOLDER.resolve()
    return path.name if path.stem in names() and not is_ours else path.stem


def _cpu_names(table: Mapping[str, Any]) -> list[str]:
    """What a profile says, or else what the machine was called that a probe measured."""
    probed = table.get("probe", {}).get("cpu")
    return table.get("cpu_names") or ([probed] if isinstance(probed, str) else [])


def _figures(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of TOML in the keys of `asdict`."""
    figures = {key: value for key, value in table.items() if key not in ("sources", "probe", "read_bandwidths")}
    rows = table.get("read_bandwidths", ())
    return {**figures, "read_bandwidths": [(row["threads"], row["bytes_per_second"]) for row in rows]}


def sources(name_or_path: str) -> dict[str, str]:
    """Figure -> where it comes from, for every figure of a profile; "unsourced" where nobody says."""
    if name_or_path == HOST:
        found: dict[str, str] = saved_probe.recall(host.machine()).get("sources", {})
        return found
    return device_table.sources(device_table.read(device_table.path_of(name_or_path, known=names())))


def host_device() -> Device:
    """This machine, as affinity, control groups and what is running now leave it.

    Bandwidths, speeds of kernels and thread counts are those of a saved probe, where there is one of this machine.
    """
    here = host.machine()
    return replace(from_machine(here), **_recalled(here))


def from_machine(here: host.Machine) -> Device:
    """This machine without anything that takes a measurement."""
    return Device(
        name=HOST,
        title=f"{THIS_MACHINE}{here.cpu}",
        cores=here.cores,
        isa=here.isa,
        ram_bytes=here.memory_bytes,
        usable_ram_bytes=here.usable_bytes,
        prefill_threads=here.decode_threads,
        decode_threads=here.decode_threads,
        context=DEFAULT_CONTEXT,
        slow_formats=kernels.slow_formats(here.isa),
        is_host=True,
    )


def _recalled(here: host.Machine) -> dict[str, Any]:
    saved = saved_probe.recall(here)
    if not saved:
        return {}
    device = from_json({**asdict(from_machine(here)), **_figures(saved)})
    return {key: getattr(device, key) for key in saved_probe.MEASURED if key in saved}
