"""Device profiles for the terminal, 80 columns wide. Returns rich renderables, prints nothing."""

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..convert.formats import FORMATS
from ..profiles.device import HOST, Device, KernelSpeed, sources
from ..profiles.kernels import SLOW, fact
from ..profiles.machine.cores import Cores
from ..profiles.probing.probe import Probed
from .numbers import digits, size
from .terminal import printable

#: what a method of measuring bandwidth moved; a copy's bytes cross the bus twice at least
_METHODS = {
    "read": "read by all decode threads",
    "scan": "read by one thread",
    "memset": "written by one thread",
    "memcpy": "copied by one thread, so each byte moved twice or more",
}


def devices(found: Sequence[Device]) -> RenderableType:
    """One line a profile, or two where it has many kinds of cores."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("name", "for programs", "bandwidth", "threads", "cores"):
        words = header in ("name", "cores")
        table.add_column(header, justify="left" if words else "right", no_wrap=header != "cores")
    for each in found:
        row = (each.name, size(each.usable_ram_bytes), _best_bandwidth(each), str(each.threads), _kinds(each.cores))
        table.add_row(*(Text(printable(cell)) for cell in row))
    said = "Bandwidth as measured (* copied: read it twice or more; ~ data sheet); threads of decode."
    return Group(table, Text(said))


def device(found: Device, name_or_path: str = "") -> RenderableType:
    """Every figure of one profile, with its source below it; its notes, and what is to be said of formats there.

    `name_or_path` is what the device was loaded by, where that is not its name.
    """
    return Group(*_shown(found, sources(name_or_path or found.name)))


def probed(found: Probed, *, saved_to: str | None = None) -> RenderableType:
    """What a probe found, and where it was kept: None where nobody asked for it, "" where it was refused."""
    limits = {
        "processors": f"{found.facts['logical_cpus']} may be used",
        "processor quota": _quota(found.facts["cpu_quota"]),
        "memory limit": _limit(found.facts["memory_limit_bytes"]),
        "free memory": size(found.facts["available_bytes"]),
        "took": f"{found.facts['seconds']:.0f} s",
    }
    parts = [*_shown(found.device, {}), _grid(limits), _listed([*found.marks, *found.notes])]
    if saved_to is None:
        return Group(*parts, Text(), Text("Not kept: --save keeps it for plans."))
    kept = f"Kept in {saved_to}; plans and runs here use it."
    return Group(*parts, *([Text(), Text(printable(kept))] if saved_to else []))


def _shown(found: Device, stated: Mapping[str, str]) -> Iterator[RenderableType]:
    yield Text(printable(found.title), style="bold")
    for key, label, value in _figures(found):
        yield _figure(label, value, stated.get(key, ""))
    if found.kernels:
        yield Text()
        yield _kernels(found.kernels)
        if stated.get("kernels"):
            yield Padding(Text(printable(stated["kernels"]), style="dim"), (0, 0, 0, 2))
    own = [f"{name}: {SLOW}" for name in found.slow_formats if not fact(name, found.isa)]
    yield _listed([*found.notes, *own, *_marks(found)])


def _marks(found: Device) -> list[str]:
    """What is to be said of formats there, those of which the same is said together."""
    said: dict[str, list[str]] = {}
    for name in FORMATS:
        if each := fact(name, found.isa):
            said.setdefault(f"{each.word}: {each.reason}", []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in said.items()]


def _listed(lines: Sequence[str]) -> RenderableType:
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row("-", Text(printable(line)))
    return table


def _figures(found: Device) -> Iterator[tuple[str, str, str]]:
    """Key of the source, label and value of each figure, in the order of reading."""
    if found.cpu_names:
        yield "cpu_names", "calls itself", ", ".join(found.cpu_names)
    yield "cores", "cores", _cores(found.cores)
    yield "isa", "kernels for", ", ".join(found.isa) or "not known"
    yield "ram_bytes", "memory", size(found.ram_bytes)
    yield "usable_ram_bytes", "for programs", size(found.usable_ram_bytes)
    in_theory, measured = found.theoretical_bandwidth_bytes_per_second, found.measured_bandwidth_bytes_per_second
    if in_theory:
        yield "theoretical_bandwidth_bytes_per_second", "bandwidth in theory", f"{size(in_theory)}/s"
    how = _METHODS.get(found.bandwidth_method, "")
    said = f"{size(measured)}/s{f', {how}' if how else ''}" if measured else _unmeasured(found)
    yield "measured_bandwidth_bytes_per_second", "bandwidth measured", said
    if found.read_bandwidths:
        each = ", ".join(f"{n}: {size(rate)}/s" for n, rate in found.read_bandwidths)
        yield "read_bandwidths", "by threads", each
    yield "prefill_threads", "threads of prefill", str(found.prefill_threads)
    yield "decode_threads", "threads of decode", str(found.decode_threads)
    yield "context", "context", f"{found.context} tokens"
    if found.storage_bytes_per_second:
        yield "storage_bytes_per_second", "disk", f"{size(found.storage_bytes_per_second)}/s"
    if found.throttling:
        yield "throttling", "slows down", found.throttling


def _figure(label: str, value: str, source: str) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, width=19)
    table.add_column()
    table.add_row(label, Text(printable(value)))
    if source:
        table.add_row("", Text(printable(source), style="dim"))
    return table


def _grid(rows: Mapping[str, str]) -> RenderableType:
    return Group(*(_figure(label, value, "") for label, value in rows.items()))


def _kernels(found: Sequence[KernelSpeed]) -> RenderableType:
    """Speeds of kernels, in weights: multiply them by two for operations."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in ("kernels", "threads", "decode", "prefill", "a layer costs"):
        table.add_column(header, justify="left" if header == "kernels" else "right", no_wrap=True)
    for each in found:
        decode, prefill = each.weights_per_second_decode, each.weights_per_second_prefill
        rates = [f"{digits(rate / 1e9)} G/s" for rate in (decode, prefill)]
        table.add_row(each.type, str(each.threads), *rates, f"{1e6 * each.layer_seconds:.0f} us")
    return Group(table, Text("G/s: 10^9 weights a second, each once a token; prefill of 128 tokens at a time."))


def _cores(found: Sequence[Cores]) -> str:
    clocks = [f" at {each.clock_hz / 1e9:.2g} GHz" if each.clock_hz else "" for each in found]
    return ", ".join(f"{each.count} {each.kind}{clock}" for each, clock in zip(found, clocks, strict=True))


def _kinds(found: Sequence[Cores]) -> str:
    return " + ".join(f"{each.count} {each.kind.removeprefix('Cortex-')}" for each in found)


def _best_bandwidth(found: Device) -> str:
    measured, in_theory = found.measured_bandwidth_bytes_per_second, found.theoretical_bandwidth_bytes_per_second
    if measured:
        return f"{size(measured)}/s{'*' if found.bandwidth_method == 'memcpy' else ''}"
    return f"~{size(in_theory)}/s" if in_theory else "not known"


def _unmeasured(found: Device) -> str:
    return "not known: edgequant devices probe --save measures it" if found.name == HOST else "not known"


def _quota(cpus: float | None) -> str:
    return "none" if cpus is None else f"{cpus:g} processors"


def _limit(n_bytes: int | None) -> str:
    return "none" if n_bytes is None else size(n_bytes)
