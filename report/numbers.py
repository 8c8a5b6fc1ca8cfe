"""Numbers as people read them: one place for units, digits and intervals, plain ASCII."""

from collections.abc import Callable

from ..accuracy.paired import Interval
from ..profiles.records.measurement import METRICS


def size(n_bytes: float) -> str:
    """Bytes in decimal units, three digits: 144_800_000 -> '145 MB', 2_100_000_000 -> '2.10 GB'."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= 0.9995 * factor:
            return f"{digits(n_bytes / factor)} {unit}"
    return f"{n_bytes:.0f} B"


def digits(value: float, n: int = 3) -> str:
    """A number with `n` significant digits, plain above 1e-4 and a power of ten below; whole digits are all kept."""
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.0e}"
    if abs(value) >= 10**n:
        return f"{value:.0f}"
    return f"{value:#.{n}g}".removesuffix(".") if abs(value) < 10**n - 0.5 else f"{value:.0f}"


def rate(value: float) -> str:
    """Tokens per second."""
    return digits(value)


def nats(value: float) -> str:
    """A divergence: two significant digits down to 1e-4, then as a power of ten."""
    return digits(value, 2)


def share(value: float) -> str:
    """A share 0..1 in per cent, one decimal."""
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """Percentage points or the like, one decimal, never a negative zero."""
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text


def ratio(value: float) -> str:
    """A ratio near one, four decimals, fewer where it is large."""
    return f"{value:.4f}" if value < 10 else digits(value)


def seconds(value: float) -> str:
    """Seconds, three digits."""
    return f"{digits(value)} s"


def joules(value: float) -> str:
    """Energy a token, three digits, in thousandths where it is less than one."""
    return f"{digits(value)} J" if value >= 1 else f"{digits(1000 * value)} mJ"


def plain(value: float) -> str:
    """Anything without a unit of its own: three digits."""
    return digits(value)


def p_value(value: float) -> str:
    """A p value, never shown as zero."""
    return "< 0.001" if value < 0.001 else f"= {value:.2f}" if value >= 0.01 else f"= {value:.3f}"


def span(interval: Interval, form: Callable[[float], str]) -> str:
    """The interval's ends: '138 to 147'."""
    return f"{form(interval.low)} to {form(interval.high)}"


#: how each metric's value is written; sizes and shares carry their unit, the others do not
FORMS: dict[str, Callable[[float], str]] = {
    "load_seconds": seconds,
    "first_token_seconds": seconds,
    "prefill_tokens_per_second": rate,
    "decode_tokens_per_second": rate,
    "peak_rss_bytes": size,
    "peak_anonymous_bytes": size,
    "peak_file_backed_bytes": size,
    "steady_rss_bytes": size,
    "steady_anonymous_bytes": size,
    "steady_file_backed_bytes": size,
    "shared_bytes": size,
    "must_fit_bytes": size,
    "joules_per_token_prefill": joules,
    "joules_per_token_decode": joules,
    **{metric: nats for metric in METRICS if metric.startswith("kl_divergence")},
    "kept_tokens": points,
    "judge_score": points,
    "same_top_token": share,
    "negative_log_likelihood": plain,
    "perplexity": plain,
    "accuracy": share,
    "margin": plain,
}


def apart(value: float, limit: float, form: Callable[[float], str]) -> tuple[str, str]:
    """Both numbers written, with more digits where they would read the same: never '2.00 GB is over 2.00 GB'."""
    texts = form(value), form(limit)
    return texts if texts[0] != texts[1] else (f"{texts[0]} ({value:,.6g})", f"{texts[1]} ({limit:,.6g})")
