"""Measuring this machine: what it is, how fast it reads memory and files, and how fast the engines' kernels are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ... import Error, child
from ...child import Progress
from ...runtimes.session import runtime_version
from .. import saved_probe
from ..device import THIS_MACHINE, Device, KernelSpeed, from_machine
from ..machine import conditions, host
from ..machine.text_files import read_text
from . import kernel_speeds, read_bandwidth, storage_speed

_HOW = "edgequant devices probe"
_WORDS = ("title", "bandwidth_method", "notes")  # no figures: nobody asks for their source
_NOT_SAVED = ("name", "is_host", "read_bandwidths", "slow_formats", "cpu_names")  # of asdict(device)


@dataclass(frozen=True, kw_only=True)
class Probed:
    """This machine with what was measured, and the facts of the moment (sizes in bytes).

    `notes` say what could not be told, `marks` what disturbed it, as `conditions.marks` has it.
    """

    device: Device
    facts: Mapping[str, Any]
    notes: tuple[str, ...]
    marks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self.device), "probe": dict(self.facts), "not_told": [*self.marks, *self.notes]}


def probe(*, progress: Progress, kernels: bool = True) -> Probed:
    """Measure this machine: memory and disk in seconds, `kernels` in about a minute on two cores.

    Raises `Error` where not even memory can be measured. Counts of threads that a sweep found stay.
    """
    before, here = conditions.read(), host.machine()
    found, notes = from_machine(here), list[str]()
    cache = read_bandwidth.cache_bytes(root=host.ROOT)
    found = replace(found, **_threads(here))
    found = replace(found, **_memory(found, cache, progress))
    progress("disk")
    rate, why = storage_speed.read_speed(Path.cwd(), virtual=is_virtual(read_text(host.ROOT / "proc/cpuinfo")))
    found = replace(found, storage_bytes_per_second=rate)
    notes += [f"reading from disk: {why}"] if why else []
    if kernels:
        n_bytes = kernel_speeds.model_bytes(free_bytes=here.usable_bytes, cache_bytes=cache)
        counts = sorted({1, found.decode_threads, found.prefill_threads})
        timed = kernel_speeds.speeds(counts, n_bytes=n_bytes, progress=progress)
        found = replace(found, kernels=tuple(KernelSpeed(**row) for row in timed.rows))
        notes += timed.notes
    after = conditions.read()
    facts = _facts(here, after.monotonic_seconds - before.monotonic_seconds)
    return Probed(device=found, facts=facts, notes=tuple(notes), marks=conditions.marks(before, after))


def _threads(here: host.Machine) -> dict[str, Any]:
    """Counts of threads that a sweep found on this machine."""
    saved = saved_probe.recall(here)
    return {key: saved[key] for key in ("prefill_threads", "decode_threads") if key in saved}


def _memory(found: Device, cache: int, progress: Progress) -> dict[str, Any]:
    """Bandwidth of reading at each count of threads, and at those that decode takes."""
    job = read_bandwidth.job(found.n_cores, free_bytes=found.usable_ram_bytes, cache_bytes=cache)
    measured = child.run(read_bandwidth.ENTRY, job, progress=progress, deadline_seconds=60).unwrap()
    rates = {int(n): float(rate) for n, rate in measured}
    nearest = max((n for n in rates if n <= found.decode_threads), default=1)
    return {
        "read_bandwidths": tuple(rates.items()),
        "measured_bandwidth_bytes_per_second": rates[nearest],
        "bandwidth_method": "read",
    }


def is_virtual(cpuinfo: str) -> bool:
    """Whether the processor says that a hypervisor runs it; ARM's does not say."""
    flags = (line.partition(":")[2].split() for line in cpuinfo.splitlines() if line.startswith("flags"))
    return any("hypervisor" in each for each in flags)


def _facts(here: host.Machine, seconds: float) -> dict[str, Any]:
    return {
        "cpu": here.cpu,
        "threads": here.threads,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "logical_cpus": here.logical_cpus,
        "cpu_quota": here.limits.cpus,
        "memory_limit_bytes": here.limits.memory_bytes,
        "available_bytes": here.usable_bytes,
        "llama_cpp_python": runtime_version("gguf"),
        "onnxruntime": runtime_version("onnx"),
    }


def doubt(probed: Probed) -> str:
    """What speaks against keeping a probe: what disturbed it, or what it would put out; "" for nothing."""
    return "; ".join(probed.marks) or _poorer(_table(probed))


def save(probed: Probed) -> Path:
    """Keep what was measured where `load("host")` finds it; a table of kernels is kept if this probe made none."""
    table = _table(probed)
    before = saved_probe.recall(host.machine())
    if not probed.device.kernels and "kernels" in before:
        table["kernels"], table["sources"]["kernels"] = before["kernels"], before["sources"].get("kernels", _HOW)
    for key in ("prefill_threads", "decode_threads"):
        table["sources"][key] = before.get("sources", {}).get(key, table["sources"][key])
    return saved_probe.write(table)


def _poorer(table: Mapping[str, Any]) -> str:
    """What speaks for what is saved of the same processor with other threads, against a table in its place."""
    saved = saved_probe.read()
    then, now = saved.get("probe", {}), table["probe"]
    before = then.get("threads")
    if then.get("cpu") != now["cpu"] or before == now["threads"]:
        return ""
    lost = any(saved.get(key) and not table.get(key) for key in ("kernels", "measured_bandwidth_bytes_per_second"))
    if lost or (isinstance(before, int) and now["threads"] < before and saved.get("kernels")):
        threads = "1 thread" if before == 1 else f"{before} threads"
        return f"{saved_probe.path()} is of this processor with {threads}, and this process may use {now['threads']}"
    return ""


def remember(
    *, prefill_threads: int | None = None, decode_threads: int | None = None, how: str = "edgequant profile"
) -> Path:
    """Keep counts of threads that were found best here; `how` is their source. Other figures stay as they are.

    `Error` where that would put out what a probe saved of this processor with another number of threads.
    """
    here = host.machine()
    saved = saved_probe.read() if saved_probe.recall(here) else _table(_unmeasured(here))
    if poorer := _poorer(saved):
        hint = "measure with these: edgequant devices probe --save --anyway"
        raise Error(f"the counts of threads are not kept: {poorer}", hint=hint)
    found = {"prefill_threads": prefill_threads, "decode_threads": decode_threads}
    new = {key: value for key, value in found.items() if value is not None}
    sources = {**saved.get("sources", {}), **dict.fromkeys(new, how)}
    return saved_probe.write({**saved, **new, "sources": sources})


def _unmeasured(here: host.Machine) -> Probed:
    return Probed(device=from_machine(here), facts=_facts(here, 0.0), notes=())


def _table(probed: Probed) -> dict[str, Any]:
    """The device as a table of TOML, every figure with its source."""
    values = {key: value for key, value in asdict(probed.device).items() if key not in _NOT_SAVED and value}
    values["title"] = probed.device.title.removeprefix(THIS_MACHINE)
    rows = [{"threads": n, "bytes_per_second": rate} for n, rate in probed.device.read_bandwidths]
    table = {**values, **({"read_bandwidths": rows} if rows else {})}
    measured, system = f"{_HOW}, {probed.facts['at']}", "this machine's system"
    sources = {key: measured if key in saved_probe.MEASURED else system for key in table if key not in _WORDS}
    sources |= dict.fromkeys(("prefill_threads", "decode_threads"), f"{system}: cores, affinity and quota")
    sources["context"] = "the default of the project"
    return {**table, "sources": sources, "probe": dict(probed.facts)}
