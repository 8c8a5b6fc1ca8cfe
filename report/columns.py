"""The columns of the comparison, one table for terminal, Markdown and page: title, what it says, and its text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..accuracy.paired import Interval
from . import numbers
from .answer import Answer
from .rows import STATUSES, Cell, Mark, Row


@dataclass(frozen=True, kw_only=True)
class Text:
    """A cell in words: the value, the interval or other detail below it, and whether it is a number at all."""

    main: str
    detail: str = ""
    missing: bool = False
    between: str = ""  # the interval in brackets, where room is short


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; `rank` says what goes first when room is short (1 stays longest)."""

    key: str
    title: str
    meaning: str
    rank: int
    text: Callable[[Row], Text]
    optional: bool = False  # shown only where some row has a number


def of_cell(metric: str) -> Callable[[Row], Text]:
    """The text of a measured cell: number and interval, or what happened instead."""

    def text(row: Row) -> Text:
        return cell_text(row.cells[metric], numbers.FORMS[metric])

    return text


def cell_text(cell: Cell, form: Callable[[float], str]) -> Text:
    """A number with its interval; a single sample says so; no number names its status."""
    if cell.value is None:
        return Text(main=STATUSES.get(cell.status, cell.status), detail=cell.note, missing=True)
    if cell.interval:
        between = cell.interval
        return Text(main=form(cell.value), detail=numbers.span(between, form), between=_brackets(between, form))
    return Text(main=form(cell.value), detail="by definition" if cell.n == 0 else "")


def _size(row: Row) -> Text:
    if row.size_bytes is None:
        return Text(main="no file", detail="nothing was converted", missing=True)
    return Text(main=numbers.size(row.size_bytes))


def _bits(row: Row) -> Text:
    if row.true_bits_per_weight is None:
        why = "nothing was converted" if row.size_bytes is None else "the source is not opened for it"
        return Text(main="not known", detail=why, missing=True)
    return Text(main=f"{row.true_bits_per_weight:.2f}", detail=mix(row))


def mix(row: Row, *, most: int = 3) -> str:
    """The tensor types by share of the weights: '79 % Q8_0, 21 % Q6_K'."""
    ordered = sorted(row.tensor_types.items(), key=lambda pair: -pair[1])
    said = [f"{100 * share:.0f} % {name}" for name, share in ordered if share >= 0.005]
    return ", ".join(said[:most]) + (", ..." if len(said) > most else "")


def _memory(row: Row) -> Text:
    total = row.cells["peak_rss_bytes"]
    parts = [row.value("peak_anonymous_bytes"), row.value("peak_file_backed_bytes")]
    text = cell_text(total, numbers.size)
    if total.value is None or parts[0] is None or parts[1] is None:
        return text
    return Text(main=text.main, detail=f"{numbers.size(parts[0])} anonymous, {numbers.size(parts[1])} file")


def _predicted(metric: str) -> Callable[[Row], Text]:
    """The text of a speed that was predicted for the device, where this machine only stands in for it."""

    def text(row: Row) -> Text:
        found = row.predicted.get(metric)
        if found is None:
            return Text(main="-", detail="nothing was predicted for it", missing=True)
        form = numbers.FORMS[metric]
        return Text(main=form(found.estimate), detail=numbers.span(found, form), between=_brackets(found, form))

    return text


def _divergence(row: Row) -> Text:
    return cell_text(row.cells["kl_divergence"], numbers.nats)


def _loss(row: Row) -> Text:
    if row.is_reference:
        return Text(main="reference")
    if row.loss is None:
        status = row.cells["accuracy"].status
        return Text(main=STATUSES.get(status, "not known"), detail=row.loss_note, missing=True)
    interval, form = row.loss.loss, numbers.points
    return Text(main=form(interval.estimate), detail=numbers.span(interval, form), between=_brackets(interval, form))


def _brackets(interval: Interval, form: Callable[[float], str]) -> str:
    return f"{form(interval.low)}..{form(interval.high)}"


def _flips(row: Row) -> Text:
    if row.loss is None:
        return Text(main="reference") if row.is_reference else _loss(row)
    return Text(
        main=f"{row.loss.lost} lost, {row.loss.gained} gained",
        detail=f"McNemar p {numbers.p_value(row.loss.p_value)}{_corrected(row)}",
    )


def _corrected(row: Row) -> str:
    return "" if row.corrected is None else f", corrected {numbers.p_value(row.corrected)}"


def _perplexity_ratio(row: Row) -> Text:
    ratio = row.perplexity_ratio
    if ratio is None:
        detail = "" if row.is_reference else "there is no likelihood to compare with the reference's"
        return Text(main="reference" if row.is_reference else "-", detail=detail, missing=not row.is_reference)
    return Text(main=numbers.ratio(ratio.estimate), detail=numbers.span(ratio, numbers.ratio))


def _column(key: str, title: str, meaning: str, rank: int, text: Callable[[Row], Text]) -> Column:
    return Column(key=key, title=title, meaning=meaning, rank=rank, text=text)


COLUMNS: Sequence[Column] = (
    _column("size", "Size", "file or folder on disk, 1 MB = 1,000,000 bytes", 1, _size),
    _column("bits", "Bits/w", "true bits per weight of the tensor data, read back from the file", 5, _bits),
    _column("memory", "Memory", "peak RSS of the process that measures speed", 2, _memory),
    _column(
        "fit",
        "Must fit",
        "memory that must be free so that nothing is paged: anonymous at its peak, and of files what is in use",
        6,
        of_cell("must_fit_bytes"),
    ),
    _column(
        "load",
        "Load",
        "from opening the file to being ready; a note says where it came from the disk, not from the page cache",
        9,
        of_cell("load_seconds"),
    ),
    _column("first", "1st token", "load, prefill and one greedy token", 8, of_cell("first_token_seconds")),
    _column("prefill", "Prefill", "tokens/s reading a prompt, median", 4, of_cell("prefill_tokens_per_second")),
    _column("decode", "Decode", "tokens/s writing one after another, median", 1, of_cell("decode_tokens_per_second")),
    Column(
        key="predicted_prefill",
        title="Prefill there",
        meaning="tokens/s predicted for the device; the column Prefill is this host's",
        rank=2,
        text=_predicted("prefill_tokens_per_second"),
        optional=True,
    ),
    Column(
        key="predicted_decode",
        title="Decode there",
        meaning="tokens/s predicted for the device; the column Decode is this host's",
        rank=1,
        text=_predicted("decode_tokens_per_second"),
        optional=True,
    ),
    Column(
        key="energy",
        title="Energy",
        meaning="of a written token, beyond that of idling",
        rank=9,
        text=of_cell("joules_per_token_decode"),
        optional=True,
    ),
    _column("divergence", "KL div.", "mean KL divergence from the reference, nats a token", 1, _divergence),
    Column(
        key="tail",
        title="KL 99 %",
        meaning="KL divergence that one position in a hundred exceeds, nats",
        rank=11,
        text=of_cell("kl_divergence_p99"),
        optional=True,
    ),
    Column(
        key="deep",
        title="KL at 2k",
        meaning="mean KL divergence after 2,048 tokens of context, nats a token",
        rank=11,
        text=of_cell("kl_divergence_after_2048"),
        optional=True,
    ),
    Column(
        key="kept",
        title="Kept",
        meaning="tokens of the reference's greedy answers (64 at most) before the format's own would differ, mean",
        rank=10,
        text=of_cell("kept_tokens"),
        optional=True,
    ),
    _column("top", "Same top", "positions with the reference's most likely token", 6, of_cell("same_top_token")),
    _column("perplexity", "Perpl.", "perplexity on the evaluation text", 7, of_cell("perplexity")),
    Column(
        key="ratio",
        title="Perpl. ratio",
        meaning="perplexity over the reference's, on the same windows",
        rank=11,
        text=_perplexity_ratio,
        optional=True,
    ),
    _column("accuracy", "Accuracy", "share of the items answered right", 3, of_cell("accuracy")),
    Column(
        key="judge",
        title="Judged",
        meaning="mean rating of dialogues by a judge, 1 to 10",
        rank=9,
        text=of_cell("judge_score"),
        optional=True,
    ),
    _column("loss", "Loss", "accuracy lost to the reference, percentage points, item by item", 1, _loss),
    _column("flips", "Flips", "items gone from right to wrong, and the reverse", 10, _flips),
)


def told(rows: Sequence[Row]) -> Sequence[Column]:
    """The columns for these rows: an optional one only where a row has a number in it."""
    return [c for c in COLUMNS if not c.optional or any(not c.text(row).missing for row in rows)]


def standing(row: Row, answer: Answer) -> str:
    """The verdict in a word or two: 'pick', 'runner-up', or the standing with its codes."""
    if row.format == answer.pick:
        return "pick"
    if row.format == answer.runner_up:
        return "runner-up"
    verdict = answer.verdict(row.format)
    codes = ", ".join(dict.fromkeys(r.code for r in verdict.reasons))
    return f"out: {codes}" if codes else verdict.standing


def footnotes(rows: Sequence[Row]) -> dict[Mark, int]:
    """Every distinct mark with its number, in the order of the table; cells without a number are explained here too."""
    found: dict[Mark, int] = {}
    for row in rows:
        for mark in notes(row):
            found.setdefault(mark, len(found) + 1)
    return found


def notes(row: Row) -> tuple[Mark, ...]:
    """A row's marks, and one for each reason that leaves cells of the table without a number."""
    empty: dict[str, list[str]] = {}
    for column in COLUMNS:
        text = column.text(row)
        if text.missing and text.detail and not column.optional:
            empty.setdefault(text.detail, []).append(column.title)
    said = " ".join(mark.sentence for mark in row.marks)
    absent = [
        Mark(code="no number", sentence=f"{', '.join(titles)}: {why}")
        for why, titles in empty.items()
        if why not in said
    ]
    return (*row.marks, *absent)


def by_mark(rows: Sequence[Row]) -> Mapping[Mark, tuple[str, ...]]:
    """Each mark with the formats that carry it."""
    return {mark: tuple(r.format for r in rows if mark in notes(r)) for mark in footnotes(rows)}
