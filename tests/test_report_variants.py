"""Variants in the report: apart from the comparison, each with n and interval, and what is to be said of them."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

import recorded
from edgequant.profiles.measuring.variant_quality import SAME_FILE
from edgequant.profiles.records.measurement import Measurement
from edgequant.report import columns, stored, terminal, variants
from edgequant.report.markdown import markdown
from edgequant.report.method import measured
from edgequant.report.page import page
from edgequant.report.table import Report, build
from recorded import artifacts, context, device, measurement, measurements


def varied(metric: str, samples: list[float], variant: dict[str, Any], name: str = "Q8_0", **more: Any) -> Measurement:
    row = measurement(name, metric, samples, **{k: v for k, v in more.items() if k in ("status", "note", "emulated")})
    extra = {k: v for k, v in more.items() if k in ("limit", "series", "reference")}
    return replace(row, parameters={**row.parameters, "variant": variant, **extra})


DEEP, QUANTISED, LIMITED, HOT = (
    {"depth": 4096},
    {"cache_type": "q8_0"},
    {"limit_memory_bytes": 10**8},
    {"sustained_seconds": 600.0},
)
SERIES = {
    "seconds": [60.0 * n for n in range(1, 11)],
    "clock_hz": [2.4e9] * 4 + [1.8e9] * 6,
    "temperature_celsius": [55.0, 70.0, 80.0, 82.0, 84.0, 85.0, 85.0, 85.0, 85.0, 85.0],
}
ROWS = [
    varied("decode_tokens_per_second", [80.0, 81.0, 79.0, 80.5, 79.5, 80.2], DEEP, note="shared cores: a third of one"),
    varied("decode_tokens_per_second", [130.0, 131.0], QUANTISED),
    varied("kl_divergence", [0.001, 0.002, 0.0015, 0.0011], QUANTISED, reference=SAME_FILE),
    varied("decode_tokens_per_second", [], LIMITED, status="oom", note="needs more than 100 MB (cgroup v2): it ended",
           limit={"kind": "cgroup v2", "meaning": "memory of every kind"}),
    varied("decode_tokens_per_second", [12.0, 12.0, 12.0, 11.0, 10.0, 9.0, 9.0, 9.0, 9.0, 9.0], HOT, "Q4_K_M",
           series=SERIES),
]  # fmt: skip


@pytest.fixture(scope="module")
def report() -> Report:
    return build(artifacts(), [*measurements(), *ROWS], device=device(), context=context())


def named(report: Report, name: str, differs: str) -> variants.VariantRow:
    return next(row for row in report.variants if (row.format, row.differs) == (name, differs))


def test_the_comparison_and_the_pick_are_those_of_plain_rows(report: Report) -> None:
    plain = recorded.report()
    assert report.rows == plain.rows and report.answer == plain.answer and plain.variants == ()
    assert len(report.measurements) == len(plain.measurements) + len(ROWS)


def test_each_format_with_variants_begins_with_its_plain_run(report: Report) -> None:
    assert [(row.format, row.differs) for row in report.variants] == [
        ("Q8_0", "plain"),
        ("Q8_0", "q8_0 cache"),
        ("Q8_0", "4,096 tokens deep"),
        ("Q8_0", "memory limited to 100 MB"),
        ("Q4_K_M", "plain"),
        ("Q4_K_M", "600 s without a break"),
    ]


def test_cells_have_their_numbers_with_n_and_interval(report: Report) -> None:
    deep = named(report, "Q8_0", "4,096 tokens deep").cells["decode_tokens_per_second"]
    assert deep.value == pytest.approx(80.1) and deep.n == 6 and deep.interval
    assert (deep.interval.low, deep.interval.high) == (79.0, 81.0)
    divergence = named(report, "Q8_0", "q8_0 cache").cells["kl_divergence"]
    assert divergence.value == pytest.approx(0.0014) and divergence.n == 4
    missing = named(report, "Q8_0", "4,096 tokens deep").cells["kl_divergence"]
    assert missing.value is None and missing.note == "it computes the same"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (varied("decode_tokens_per_second", [80.0], DEEP), "it computes the same"),
        (varied("decode_tokens_per_second", [80.0], {"mmap": False, "of_later": 1}), "it computes the same"),
        (varied("decode_tokens_per_second", [80.0], QUANTISED), "it was not measured"),
        (varied("decode_tokens_per_second", [80.0], {"flash_attention": False}), "it was not measured"),
        (varied("decode_tokens_per_second", [], DEEP, status="oom", note="killed"), "it was not measured"),
    ],
)
def test_why_a_variant_has_no_divergence(row: Measurement, why: str) -> None:
    (made,) = variants.rows(artifacts(), [row])
    assert made.cells["kl_divergence"].note == why


def test_the_last_row_of_a_variant_counts() -> None:
    rows = [varied("decode_tokens_per_second", [n, n], DEEP) for n in (1.0, 2.0)]
    made = variants.rows(artifacts(), rows)
    assert [row.cells["decode_tokens_per_second"].value for row in made] == [2.0]


def test_marks_limits_and_failures_are_said(report: Report) -> None:
    assert [(m.code, m.sentence) for m in named(report, "Q8_0", "4,096 tokens deep").marks] == [
        ("shared cores", "a third of one")
    ]
    limited = named(report, "Q8_0", "memory limited to 100 MB")
    assert limited.cells["decode_tokens_per_second"].status == "oom"
    assert [m.code for m in limited.marks] == ["out of memory", "limit"]
    assert limited.marks[1].sentence == "cgroup v2: it limits memory of every kind"


GROUP = {"kind": "cgroup v2", "meaning": "memory of every kind", "bytes": 1_797_483_648}


@pytest.mark.parametrize(
    ("limit", "note", "said"),
    [
        (GROUP, "", ("limit", "cgroup v2 of 1.80 GB: it limits memory of every kind; it fits")),
        (
            {**GROUP, "kind": "RLIMIT_DATA", "meaning": "private memory alone"},
            "shared cores: a third of one",
            ("limit", "RLIMIT_DATA of 1.80 GB: it limits private memory alone; it fits"),
        ),
        (
            GROUP,
            "cold load: 9 MB came from the disk\nmajor faults: 4,000 times",
            ("limit", "cgroup v2 of 1.80 GB: it limits memory of every kind; it does not fit: pages had to come back"),
        ),
        (
            {**GROUP, "kind": "none", "meaning": "nothing is limited: this system offers none"},
            "",
            ("not held", "a limit of 1.80 GB was not laid: nothing is limited: this system offers none"),
        ),
    ],
)
@pytest.mark.parametrize("variant", [{}, LIMITED], ids=["plain", "variant"])
def test_what_was_limited_and_whether_it_fits_is_said_of_every_row(
    variant: dict[str, Any], limit: dict[str, Any], note: str, said: tuple[str, str]
) -> None:
    """Of the plain run of an emulated device, too."""
    row = varied("decode_tokens_per_second", [5.0, 5.1], variant, limit=limit, note=note, emulated=True)
    made = build(artifacts(), [*measurements(), row], device=device(is_host=False), context=context())
    plain = next(row for row in made.rows if row.format == "Q8_0")
    marks = named(made, "Q8_0", "memory limited to 100 MB").marks if variant else plain.marks
    assert said in [(mark.code, mark.sentence) for mark in marks]


def test_answers_that_were_computed_for_another_device_are_not_marked_emulated() -> None:
    rows = [replace(row, emulated=row.metric == "accuracy") for row in measurements()]
    made = build(artifacts(), rows, device=device(), context=context())
    assert not any(row.mark("emulated") for row in made.rows)


def test_a_cold_load_is_marked() -> None:
    note = "cold load: 145 MB came from the disk (1 of 2 rounds)"
    rows = [replace(row, note=note) if row.metric == "load_seconds" and row.samples else row for row in measurements()]
    made = build(artifacts(), rows, device=device(), context=context())
    assert all(row.mark("cold load") for row in made.rows if row.value("load_seconds") is not None)
    (load,) = [column for column in columns.COLUMNS if column.key == "load"]
    assert "in the page cache" not in load.meaning and "a note says" in load.meaning


@pytest.mark.parametrize(
    ("energy", "said"),
    [
        ([{"absent": "root alone may read"}, None], "not measured: root alone may read"),
        (
            [{"covers": "the package", "idle_watts": 1.9}, {"covers": "the package", "idle_watts": 2.125}],
            "of the package; beyond the 1.90 to 2.12 W that were drawn before a file was loaded",
        ),
        (
            [{"covers": "the package", "idle_watts": 1.9}],
            "of the package; beyond the 1.90 W that were drawn before a file was loaded",
        ),
        ([None], ""),
    ],
)
def test_what_energy_covers_or_why_there_is_none_is_said(energy: list[dict[str, Any] | None], said: str) -> None:
    rows = [replace(row, parameters={**row.parameters, "energy": energy}) for row in measurements()]
    made = build(artifacts(), rows, device=device(), context=context())
    assert measured(made).get("energy", "") == said
    assert said in markdown(made)


def test_a_sustained_run_in_a_sentence(report: Report) -> None:
    (mark,) = named(report, "Q4_K_M", "600 s without a break").marks
    assert mark.sentence == (
        "12.0 tokens/s at the beginning, 9.00 at the end (75%); 2.40 GHz to 1.80 GHz; 55 degrees to 85 degrees"
    )
    untold = {"seconds": [1.0], "clock_hz": [None], "temperature_celsius": [None]}
    assert variants.over_time([5.0, 4.0], untold) == "5.00 tokens/s at the beginning, 4.00 at the end (80%)"


def test_all_three_reports_show_them(report: Report) -> None:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(terminal.table(report))
    shown = captured.get()
    for text in (shown, markdown(report), page(report)):
        assert "Variants" in text and "4,096 tokens deep" in text and "q8_0 cache" in text.replace("\\_", "_")
        assert "out of memory" in text
    assert all(
        re.search(r"79\.0 to 81\.0, n 6|79\.0 to 81\.0</small><small>n.6", text)
        for text in (markdown(report), page(report))
    )
    assert re.search(r"4,096 tokens deep +- +80\.1 +- +- +- +6\n +79\.0\.\.81\.0", shown)
    assert all(word not in markdown(recorded.report()) for word in ("Variants", "tokens deep"))
    assert "Variants" not in page(recorded.report()).replace("variants, scrolls", "")


def test_they_come_back_from_json(report: Report) -> None:
    again = stored.from_json(json.loads(json.dumps(stored.to_json(report))))
    assert [row.differs for row in again.variants] == [row.differs for row in report.variants]
    assert again.variants[1].cells == report.variants[1].cells


def test_emulated_rows_say_whose_speed_it_is() -> None:
    rows = [varied("decode_tokens_per_second", [5.0, 5.1], DEEP, emulated=True)]
    made = build(artifacts(), [*measurements(), *rows], device=device(is_host=False), context=context())
    assert "4,096 tokens deep (this host's speed)" in markdown(made)
    assert "this host's speed" in html.unescape(page(made))


def test_energy_is_a_column_only_where_a_meter_told_it() -> None:
    plain = recorded.report()
    assert "Energy" not in [column.title for column in columns.told(plain.rows)]
    assert not any("Energy" in mark.sentence for row in plain.rows for mark in columns.notes(row))
    rows = [*measurements(), measurement("Q8_0", "joules_per_token_decode", [0.021, 0.022, 0.02])]
    metered = build(artifacts(), rows, device=device(), context=context())
    assert "Energy" in [column.title for column in columns.told(metered.rows)]
    assert "21.0 mJ" in markdown(metered)


def test_a_plain_row_that_was_disturbed_is_marked_in_the_comparison() -> None:
    note = "throttled: the Pi capped its clock (2 of 3 rounds)\nshared cores: other processes took 0.40 of a core"
    rows = [m if m.format != "Q8_0" else replace(m, note=note) for m in measurements() if m.status == "ok"]
    made = build(artifacts(), rows, device=device(), context=context())
    row = next(row for row in made.rows if row.format == "Q8_0")
    assert row.mark("throttled") and row.mark("shared cores")
    assert "the Pi capped its clock" in markdown(made)


def test_predictions_for_an_emulated_device_stand_beside_the_hosts_speed() -> None:
    predicted = {"Q8_0": {"decode_tokens_per_second": [4.1, 5.2, 6.6], "prefill_tokens_per_second": [20.0, 25.0, 30.0]}}
    emulated = [replace(row, emulated=True) for row in measurements()]
    made = build(artifacts(), emulated, device=device(is_host=False), context=context(predicted=predicted))
    titles = [column.title for column in columns.told(made.rows)]
    assert {"Prefill there", "Decode there", "Decode"} <= {*titles}
    (line,) = [line for line in markdown(made).splitlines() if line.startswith("| Q8_0 ")]
    cells = dict(zip(titles, line.split(" | ")[1:], strict=False))
    assert cells["Decode there"] == "5.20 (4.10 to 6.60)" and cells["Decode"] == "140 (135 to 142)"
    assert "predicted for the device; the column Decode is this host's" in markdown(made)
    assert not any("there" in column.title for column in columns.told(recorded.report().rows))
