"""What the page's pictures and its table are made of, from recorded samples: data, captions, order and marks."""

import base64
import gzip
from dataclasses import replace

import pytest

import recorded
from edgequant.profiles.planning.footprint import Line
from edgequant.report import columns, figures, numbers, page_table, scatters, scripts
from edgequant.report.method import measured, repeated
from edgequant.report.predictions import Prediction
from edgequant.report.rows import Mark
from edgequant.report.table import Report, build


@pytest.fixture(scope="module")
def report() -> Report:
    return recorded.report()


def test_front_is_what_nothing_beats() -> None:
    rows = [
        recorded.row("small", mb=50, nats=0.5),
        recorded.row("beaten", mb=120, nats=0.6),
        recorded.row("middle", mb=100, nats=0.1),
        recorded.row("large", mb=300, nats=0.0),
        recorded.row("larger", mb=400, nats=0.0),
    ]
    assert [r.format for r in scatters.front(rows, metric="size")] == ["small", "middle", "large"]
    fast = [
        recorded.row("a", decode=50, nats=0.0),
        recorded.row("b", decode=90, nats=0.2),
        recorded.row("c", decode=60, nats=0.3),
    ]
    assert [r.format for r in scatters.front(fast, metric="decode_tokens_per_second")] == ["a", "b"]


def drawn(report: Report, key: str) -> figures.Figure:
    return next(f for f in figures.figures(report) if f.key == key)


def test_zero_divergence_has_a_place_on_a_logarithmic_axis(report: Report) -> None:
    size = drawn(report, "size")
    assert 0 < size.data["lowest"] < min(p["divergence"] for p in size.data["points"] if p["divergence"] >= 1e-4)
    assert "F16" in size.caption and "line of zero" in size.caption
    assert all(tick > size.data["lowest"] for tick in size.data["ticks"])
    rows = [recorded.row("F16", nats=0.0)]
    assert scatters.lowest(rows) > 0


def test_memory_without_predictions_is_what_was_measured(report: Report) -> None:
    memory = drawn(report, "memory")
    assert memory.kind == "panels"
    (panel,) = memory.data["panels"]
    q8 = next(row for row in panel["rows"] if row["name"] == "Q8_0")
    assert q8["marks"] == [{"role": "value", "x": pytest.approx(61 + 144.8)}]
    assert panel["device"] == 6400 and numbers.size(6.4e9) in memory.caption


PREDICTED = Prediction(
    context=2048,
    trained_context=5000,
    peak_memory_bytes=241_000_000,
    memory=Line(intercept_bytes=190_000_000, bytes_per_token=25_000, from_tokens=512),
    largest_context=5000,
    speeds={"decode_tokens_per_second": recorded.paired(150, 120, 180).loss},
)


def test_memory_over_context_is_predicted_and_says_so(report: Report) -> None:
    made = replace(report, planned={"Q8_0": PREDICTED})
    memory = drawn(made, "memory")
    (line,) = memory.data["lines"]
    assert (line["intercept"], line["slope"], line["at"]) == (190.0, 0.025, 2048)
    assert line["measured"] == pytest.approx(61 + 144.8)
    assert memory.data["contexts"] == [512, 1024, 2048, 4096, 5000]
    assert memory.caption.startswith("Lines are predictions") and "held 192 tokens" in memory.caption


def test_measured_stands_beside_predicted_only_where_both_are_of_the_same_machine(report: Report) -> None:
    agreement = drawn(replace(report, planned={"Q8_0": PREDICTED}), "agreement")
    assert [panel["title"] for panel in agreement.data["panels"]] == ["decode, tokens/s", "peak memory, MB"]
    band, mark = agreement.data["panels"][0]["rows"][0]["marks"]
    assert (band["low"], band["x"], band["high"], mark["role"]) == (120, 150, 180, "value")
    assert "1 of 1 speeds lie within." in agreement.caption
    emulated = [replace(row, marks=(Mark(code="emulated", sentence=""),)) for row in report.rows]
    elsewhere = replace(report, rows=tuple(emulated), planned={"Q8_0": PREDICTED})
    assert all(f.key != "agreement" for f in figures.figures(elsewhere))


def test_the_spread_of_the_divergence_orders_median_mean_and_tail() -> None:
    tail = [
        recorded.measurement("Q8_0", metric, [value])
        for metric, value in (("kl_divergence_median", 0.002), ("kl_divergence_p99", 0.03), ("kl_divergence_p999", 0.2))
    ]
    rows = [*recorded.measurements(), *tail]
    report = build(recorded.artifacts(), rows, device=recorded.device(), context=recorded.context())
    spread = drawn(report, "spread")
    (entry,) = spread.data["panels"][0]["rows"]
    assert [mark["role"] for mark in entry["marks"]] == ["open", "value", "p99", "p999"]
    assert [mark["x"] for mark in entry["marks"]][2:] == [0.03, 0.2]
    assert "1 in 1,000: 0.20 nats" in entry["marks"][3]["text"]


def test_narrow_pictures_stand_in_pairs(report: Report) -> None:
    for planned in ({}, {"Q8_0": PREDICTED}):
        made = figures.figures(replace(report, planned=planned))
        assert sum(not figure.wide for figure in made) % 2 == 0


def test_every_column_has_something_to_sort_by(report: Report) -> None:
    assert {column.key for column in columns.COLUMNS} == set(page_table.ORDERS)
    for column in columns.told(report.rows):
        for row in report.rows:
            text = column.text(row)
            if text.main != "reference":
                assert text.missing == (page_table.ORDERS[column.key](row) is None), (column.key, row.format)


def test_formats_that_cannot_be_told_apart_share_a_letter(report: Report) -> None:
    made = page_table.table(report)
    letters = {entry["row"].format: set(entry["equals"].split()) for entry in made["rows"]}
    for row in report.rows:
        for other in letters:
            if letters[row.format] & letters[other] and other != row.format:
                assert other in row.ties
    assert [letter for letter, _ in made["groups"]] == ["a"]


@pytest.mark.parametrize(
    "code, level",
    [
        ("crashed", "bad"),
        ("failed gate", "bad"),
        ("throttled", "warning"),
        ("emulated", "warning"),
        ("fell back", "warning"),
        ("limit", "note"),
    ],
)
def test_marks_say_how_much_they_matter(code: str, level: str) -> None:
    assert page_table.level(Mark(code=code, sentence="")) == level


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Q4_K_M", "Q4_K_M"),
        ("a\u202eb", "a\ufffdb"),
        ("a\x1b[31m", "a\ufffd[31m"),
        ("two\nlines", "two\nlines"),
        ("é", "é"),
    ],
)
def test_what_hides_or_turns_text_is_shown_as_a_box(text: str, shown: str) -> None:
    assert scripts.visible(text) == shown


def test_what_is_packed_comes_out_the_same() -> None:
    text = "plot" * 1000
    assert gzip.decompress(base64.b64decode(scripts.packed(text))).decode() == text


def test_the_commands_that_repeat_a_run(report: Report) -> None:
    named = replace(report, context=recorded.context(command="edgequant run M --out 'my runs/a'"))
    assert [command for _, command in repeated(named)][1] == "edgequant report 'my runs/a'"
    assert [command for _, command in repeated(report)][1] == "edgequant report runs/SmolLM2-135M-Instruct"
    assert repeated(replace(report, context=recorded.context(command=""))) == []
    broken = replace(report, context=recorded.context(command="edgequant run 'M"))
    assert repeated(broken)[0][1] == "edgequant run 'M"


def test_the_machine_is_told_without_what_passes(report: Report) -> None:
    host = {
        "cpu": "Xeon",
        "cpu_quota": None,
        "load_average": [1.2, 0.3, 0.1],
        "available_bytes": 3,
        "memory_bytes": 8e9,
    }
    said = measured(replace(report, context=recorded.context(host=host)))
    assert said["machine"] == "cpu Xeon, memory 8.00 GB"
