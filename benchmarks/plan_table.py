"""What was predicted of a model beside what was measured: a line a format, then every context, then the targets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from converted import Converted

from edgequant.profiles.planning.plan import Plan, PlannedFormat

_CACHE_BYTES = 5243  # half of the last digit that llama.cpp says of its cache: hundredths of a MiB


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one artifact: bytes of its files and of its tensors, tokens/s, and seconds to load and to make.

    By context in tokens: `peaks` of memory with the cache full, and the `caches` of keys and values, in bytes.
    """

    size_bytes: int
    tensor_bytes: int
    peaks: Mapping[int, int]
    caches: Mapping[int, int]
    decode: float
    prefill: float
    load: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A model's plans by context, and what was measured of each format."""

    name: str
    plans: Mapping[int, Plan]
    measured: Mapping[str, Measured]
    converted: Converted

    def told(self, format_name: str, context: int) -> PlannedFormat:
        """The prediction."""
        return next(each for each in self.plans[context].formats if each.format == format_name)

    @property
    def contexts(self) -> Sequence[int]:
        """From the shortest on."""
        return sorted(self.plans)


def table(compared: Compared) -> str:
    """All of it."""
    parts = [_formats(compared), _contexts(compared), _conversion(compared), _verdicts(compared)]
    return "\n".join(line for part in parts for line in (*part, ""))


def _formats(compared: Compared) -> Iterator[str]:
    longest = compared.contexts[-1]
    yield f"{compared.name}: measured, and predicted against it"
    yield (
        f"{'':11}{'file':>10}{'off':>5}{'tensors':>11}{'off':>5}{'decode/s':>10}{'':>6}{'in':>3}"
        f"{'prefill/s':>11}{'':>6}{'in':>3}{'load s':>8}{'':>6}{'made in s':>10}{'':>6}"
    )
    for name, real in compared.measured.items():
        told = compared.told(name, longest)
        yield (
            f"{name:11}{real.size_bytes / 1e6:>7.1f} MB{told.size_bytes - real.size_bytes:>5}"
            f"{real.tensor_bytes / 1e6:>8.1f} MB{told.tensor_bytes - real.tensor_bytes:>5}"
            f"{real.decode:>10.1f}{_off(told, 'decode', real.decode):>+6.0%}{_inside(told, 'decode', real.decode):>3}"
            f"{real.prefill:>11.1f}{_off(told, 'prefill', real.prefill):>+6.0%}"
            f"{_inside(told, 'prefill', real.prefill):>3}"
            f"{real.load:>8.2f}{(told.load_seconds or 0):>6.2f}"
            f"{real.seconds:>10.1f}{(told.conversion_seconds or 0):>6.1f}"
        )


def _contexts(compared: Compared) -> Iterator[str]:
    """At every context the peak of memory, and the keys and values that the engine allots, beside those predicted."""
    yield "memory in MB at each context: the peak with the cache full, and keys and values as the engine allots them"
    yield f"{'':11}" + "".join(f"{f'peak at {n}':>14}{'':>7}{'keys':>9}{'predicted':>10}" for n in compared.contexts)
    for name, real in compared.measured.items():
        cells = []
        for n in compared.contexts:
            told = compared.told(name, n)
            off = (told.peak_memory_bytes or 0) / real.peaks[n] - 1
            cache = told.memory["key/value cache"]
            cells.append(f"{real.peaks[n] / 1e6:>14.1f}{off:>+7.1%}{real.caches[n] / 1e6:>9.2f}{cache / 1e6:>10.2f}")
        yield f"{name:11}{''.join(cells)}"
    for name in (next(iter(compared.measured)), list(compared.measured)[-1]):
        yield from _growth(compared, name)


def _growth(compared: Compared, name: str) -> Iterator[str]:
    """What memory grows by between contexts, of which keys and values are a part."""
    for least, most in zip(compared.contexts, compared.contexts[1:], strict=False):
        peaks = compared.measured[name].peaks
        told = [compared.told(name, n) for n in (least, most)]
        real = (peaks[most] - peaks[least]) / (most - least)
        grown = ((told[1].peak_memory_bytes or 0) - (told[0].peak_memory_bytes or 0)) / (most - least)
        cache = (told[1].memory["key/value cache"] - told[0].memory["key/value cache"]) / (most - least)
        yield (
            f"{name}: from {least} to {most} tokens memory grows by {real / 1e3:.1f} kB a token; predicted "
            f"{grown / 1e3:.1f} kB, of which {cache / 1e3:.1f} kB keys and values"
        )


def _conversion(compared: Compared) -> Iterator[str]:
    """Memory and disk of `edgequant convert`; what a plan says of the disk is for a whole run."""
    made, plan = compared.converted, compared.plans[compared.contexts[-1]]
    predicted = plan.conversion_memory_bytes or 0
    yield (
        f"converting: {made.peak_bytes / 1e6:.0f} MB in the largest process ({made.peak_of}), predicted "
        f"{predicted / 1e6:.0f} MB ({predicted / made.peak_bytes - 1:+.0%})"
    )
    artifacts = sum(each.size_bytes for each in compared.measured.values())
    yield (
        f"disk: {made.disk_bytes / 1e6:.0f} MB at most while converting, {artifacts / 1e6:.0f} MB of it artifacts; "
        f"predicted {plan.disk_bytes / 1e6:.0f} MB for a whole run, with its reference and reports"
    )


def _verdicts(compared: Compared) -> Iterator[str]:
    last, found = compared.contexts[-1], compared.measured
    for what, field in (("files", "size_bytes"), ("tensor data", "tensor_bytes")):
        off = [getattr(compared.told(name, last), field) - getattr(real, field) for name, real in found.items()]
        yield f"{what}: {'exact' if not any(off) else f'OFF by up to {max(map(abs, off))} bytes'}"
    pairs = [
        (compared.told(name, n).peak_memory_bytes or 0, real.peaks[n])
        for name, real in found.items()
        for n in compared.contexts
    ]
    good = sum(abs(told - real) <= max(30e6, 0.05 * real) for told, real in pairs)
    offs = [told / real - 1 for told, real in pairs]
    yield f"peak memory within 5 % or 30 MB: {good} of {len(pairs)}, from {min(offs):+.1%} to {max(offs):+.1%}"
    caches = [
        abs(compared.told(name, n).memory["key/value cache"] - real.caches[n]) <= _CACHE_BYTES
        for name, real in found.items()
        for n in compared.contexts
    ]
    yield f"keys and values as allotted at {', '.join(map(str, compared.contexts))}: {sum(caches)} of {len(caches)}"
    for metric, limit in (("decode", 0.2), ("prefill", 0.3)):
        errors = [abs(_off(compared.told(name, last), metric, getattr(real, metric))) for name, real in found.items()]
        middle, worst = median(errors), max(errors)
        verdict = "reached" if middle <= limit and worst <= 0.4 else "MISSED"
        yield f"{metric}: median error {middle:.0%} (at most {limit:.0%}), worst {worst:.0%} (at most 40%): {verdict}"


def _off(told: PlannedFormat, metric: str, real: float) -> float:
    """Predicted against measured, less one; a speed that is not predicted is off by all of it."""
    return (getattr(told, f"{metric}_tokens_per_second") or 0.0) / real - 1


def _inside(told: PlannedFormat, metric: str, real: float) -> str:
    name = f"{metric}_tokens_per_second"
    low, high = getattr(told, f"{name}_low"), getattr(told, f"{name}_high")
    return "*" if low is not None and low <= real <= high else "-"
