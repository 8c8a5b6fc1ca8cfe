"""A machine's diagnosis for the terminal, 80 columns wide: facts, kernels, and what ails with what mends it."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..profiles.doctor.ailments import NOTES, SLOWS, STOPS
from ..profiles.doctor.examination import Diagnosis, Engine
from ..profiles.doctor.kernel_trials import DIED, PLAIN, REPACKED, RIGHT, WRONG, Trial
from ..profiles.machine.surroundings import COMPILERS, Surroundings
from .numbers import size
from .terminal import printable

_SIGNS = {STOPS: ("✗", "red"), SLOWS: ("!", "yellow"), NOTES: ("-", "")}
_STYLES = {RIGHT: "green", WRONG: "bold red", DIED: "bold red"}


def diagnosis(found: Diagnosis) -> RenderableType:
    """The whole of it; what ails comes last, so that it is what one sees."""
    parts: list[RenderableType] = [_facts(found), Text()]
    for engine in found.engines:
        parts += [_engine(engine), _trials([t for t in found.trials if t.engine == engine.name]), Text()]
    return Group(*parts, _ailments(found), Text(_answer(found), style="bold"))


def _facts(found: Diagnosis) -> RenderableType:
    around = found.surroundings
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    rows = {
        "processor": found.cpu,
        "kernels for": ", ".join(found.isa) or "not known",
        "cores": _cores(around),
        "governor": ", ".join(around.governors),
        "memory": _memory(around),
        "swap": _swap(around),
        "page": f"{around.page_bytes // 1024} KB",
        "disk": f"{size(around.disk_free_bytes)} free in {around.disk_folder}",
        "system": f"{around.system}; Python {around.python}, {around.python_bits} bits",
        "installed": _installed(around),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(printable(value)))
    return table


def _cores(around: Surroundings) -> str:
    quota = "" if around.cpu_quota is None else f", {around.cpu_quota:g} paid for by the control group"
    return f"{around.allowed_cpus} of {around.online_cpus} allowed{quota}; {around.threads} threads are used"


def _memory(around: Surroundings) -> str:
    limit = "" if around.memory_limit_bytes is None else f" (limit {size(around.memory_limit_bytes)})"
    return f"{size(around.memory_bytes)}{limit}, {size(around.usable_bytes)} free"


def _swap(around: Surroundings) -> str:
    swap = around.swap
    if not swap.total_bytes:
        return "none"
    return f"{size(swap.total_bytes)}{' of zram' if swap.is_zram else ''}, {size(swap.used_bytes)} in use"


def _installed(around: Surroundings) -> str:
    extras = [name for name, there in around.extras.items() if there] or ["the base install alone"]
    compilers = [f"compiler for {COMPILERS[name]}" for name in around.compilers]
    return ", ".join([*extras, *compilers])


def _engine(engine: Engine) -> RenderableType:
    if engine.note:
        return Text(printable(f"{engine.name}: {engine.note}"), style="bold red")
    head = Text(printable(f"{engine.name} {engine.version}"), style="bold")
    return Group(head, Padding(Text(printable(", ".join(engine.build)), style="dim"), (0, 0, 0, 2)))


def _trials(trials: Sequence[Trial]) -> RenderableType:
    """A line a family; llama.cpp's two ways beside each other."""
    ways = list(dict.fromkeys(trial.way for trial in trials))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=any(ways), show_edge=False)
    table.add_column("  kernels", no_wrap=True)
    for way in ways:
        table.add_column({REPACKED: "repack on", PLAIN: "repack off"}.get(way, ""))
    for family in dict.fromkeys(trial.family for trial in trials):
        table.add_row(f"  {family}", *(_verdict(trial) for trial in trials if trial.family == family))
    return table


def _verdict(trial: Trial) -> Text:
    words = trial.verdict
    if trial.verdict == DIED:
        words = f"died of {trial.signal}"
    elif trial.verdict in (RIGHT, WRONG) and trial.error is not None:
        words = f"{trial.verdict} ({_error(trial.error)})"
    elif trial.verdict not in (RIGHT, WRONG):
        words = f"{trial.verdict}: {trial.said}"
    if trial.repacked:
        words += ", repacked"
    return Text(printable(words), style=_STYLES.get(trial.verdict, "red"))


def _error(error: float) -> str:
    """How far off the right values, in per cent where that says something."""
    if not error:
        return "exact"
    return f"{error:.1%} off" if error >= 1e-3 else f"{error:.0e} off"


def _ailments(found: Diagnosis) -> RenderableType:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for ailment in found.ailments:
        sign, style = _SIGNS[ailment.weight]
        table.add_row(Text(sign, style=style), Text(printable(ailment.what), style=style))
        table.add_row("", Text(printable(f"→ {ailment.mend}"), style="bold"))
    return table


def _answer(found: Diagnosis) -> str:
    """What it comes to, in a line or two."""
    dead = [engine.name for engine in found.engines if not engine.runs]
    if dead:
        return f"{' and '.join(dead)} cannot run on this machine."
    counts = {weight: sum(a.weight == weight for a in found.ailments) for weight in (STOPS, SLOWS)}
    repack = "" if found.repack else " llama.cpp runs without its repacked kernels (repack off)."
    words = f"{counts[STOPS]} problems" if counts[STOPS] else "Both engines run"
    slows = f", {counts[SLOWS]} things slow them" if counts[SLOWS] else ""
    return f"{words}{slows}.{repack} Examined in {found.seconds:.0f} s."
