"""How a run was measured, in words: the machine, builds, settings, reference, text and command behind every number."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping

from . import numbers
from .table import Report

_ENDINGS = {"failed": "failed for", "warning": "with a warning for", "not checked": "not checked for"}


def measured(report: Report) -> Mapping[str, str]:
    """What every number depends on, as title -> text; lines without anything to say are left out."""
    context, device = report.context, report.device
    source = context.quantised_source
    facts = {
        "model": f"{context.checkpoint}, {context.n_parameters:,} parameters, {context.architecture}, {context.dtype}",
        "revision": context.revision,
        "quantised source": f"{source.path}, {source.type}, {numbers.size(source.size_bytes)}" if source else "",
        "grid": _grid(report),
        "device": f"{device.title}, {device.n_cores} cores, {numbers.size(device.ram_bytes)} of memory",
        "machine": _machine(context.host),
        "settings": _settings(report),
        "emulation": _emulation(report),
        "energy": _energy(report),
        "runtimes": ", ".join(sorted({row.runtime for row in report.rows if row.runtime})),
        "versions": _pairs(context.versions),
        "reference": (context.reference or "none could be measured") + _compact(report),
        "text": f"{context.n_text_tokens:,} tokens" if context.n_text_tokens else "",
        "items": f"{context.n_items:,}" if context.n_items else "",
        "intervals": "95 %: medians between two of their samples (five repetitions reach 93.75 %), means by bootstrap "
        "over windows of text, shares by Wilson's score, losses by Tango's paired score",
        "checks": _checks(report),
        "seeds": _seeds(report),
        "command": context.command,
    }
    return {name: text for name, text in facts.items() if text}


def repeated(report: Report) -> list[tuple[str, str]]:
    """Commands that repeat what was done, each with what it does: the run's own, and those that ask it again."""
    context = report.context
    if not context.command:
        return []
    folder = _folder(context.command, context.checkpoint)
    return [
        ("convert, check, measure and compare again; what is there already is kept", context.command),
        ("build this page again from the stored rows", f"edgequant report {folder}"),
        ("ask for another pick", f"edgequant pick {folder} --prefer speed"),
    ]


def _folder(command: str, checkpoint: str) -> str:
    """The run's folder as its command names it, else as `edgequant run` names one itself."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote without its partner
        words = []
    after = [words[n + 1] for n, word in enumerate(words[:-1]) if word == "--out"]
    return shlex.quote(after[-1] if after else f"runs/{checkpoint}")


def _grid(report: Report) -> str:
    context = report.context
    if not context.grid:
        return ""
    if context.rescaled:
        return f"the weights lay on the {context.grid} grid; rescaled without changing the function, they lie on none"
    return f"the weights lie on the {context.grid} grid: formats that share it look better than they are"


def _checks(report: Report) -> str:
    """What was checked against the checkpoint after conversion, and how many files it ended how for."""
    if not any(artifact.checks for artifact in report.artifacts):
        return "none"
    said: dict[str, Counter[str]] = {}
    for artifact in report.artifacts:
        for what, result in artifact.checks.items():
            said.setdefault(what, Counter())[result.partition(": ")[0]] += 1
    return ", ".join(f"{what} {_verdicts(counts)}" for what, counts in said.items())


def _verdicts(counts: Mapping[str, int]) -> str:
    n = sum(counts.values())
    others = [f"{_ENDINGS[verdict]} {counts[verdict]}" for verdict in _ENDINGS if counts.get(verdict)]
    return f"passed for {counts.get('passed', 0)} of {n} files" + "".join(f", {words}" for words in others)


def _compact(report: Report) -> str:
    """What it costs the divergences where the reference came with a bundle, as its likeliest tokens and a draw."""
    errors = {
        row.format: row.parameters["kl_divergence_error"]
        for row in report.measurements
        if row.parameters.get("kl_divergence_error")
    }
    if not errors:
        return ""
    name = max(errors, key=lambda name: errors[name])
    worst = f"{numbers.nats(errors[name])} nats ({name})"
    return f"; some tokens of each position stand for all: divergences move by a standard error of at most {worst}"


def _settings(report: Report) -> str:
    """Threads, context and lengths, with every value that occurs."""
    found: dict[str, set[str]] = {}
    for row in (each for each in report.measurements if not each.variant):
        settings = row.parameters.get("settings")
        flat = {**row.parameters, **(settings if isinstance(settings, Mapping) else {})}
        for name in ("threads", "prefill_threads", "context", "n_prompt", "n_generate", "repetitions"):
            if flat.get(name) is not None:
                found.setdefault(name, set()).add(str(flat[name]))
    return ", ".join(f"{name.removeprefix('n_')} {_joined(values)}" for name, values in found.items())


def _seeds(report: Report) -> str:
    found = {str(row.parameters["seed"]) for row in report.measurements if row.parameters.get("seed") is not None}
    return _joined(found)


def _emulation(report: Report) -> str:
    """How this machine was kept within the device that it stood for."""
    return " and ".join(
        sorted({str(row.parameters["emulation"]) for row in report.measurements if row.parameters.get("emulation")})
    )


def _energy(report: Report) -> str:
    """What the meter covers and what was drawn at rest, which is not in the figures; or why there are none."""
    told = [each for row in report.measurements for each in row.parameters.get("energy") or () if each]
    idle = [each["idle_watts"] for each in told if "idle_watts" in each]
    if not idle:
        return _joined({f"not measured: {each['absent']}" for each in told})
    covers = _joined({each["covers"] for each in told if "idle_watts" in each})
    watts = " to ".join(dict.fromkeys(f"{value:.2f}" for value in (min(idle), max(idle))))
    return f"of {covers}; beyond the {watts} W that were drawn before a file was loaded"


def _joined(values: Iterable[str]) -> str:
    return " and ".join(sorted(values))


def _machine(host: Mapping[str, object]) -> str:
    """What the measuring machine told of itself; what it did not tell, and what changes by the minute, is left out."""
    passing = ("load_average", "available_bytes")
    return _pairs({name: value for name, value in host.items() if value is not None and name not in passing})


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(_fact(name, value) for name, value in values.items())


def _fact(name: str, value: object) -> str:
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return f"{name.removesuffix('_bytes').replace('_', ' ')} {numbers.size(value)}"
    said = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return f"{name.replace('_', ' ')} {said}"
