"""The page's table and controls in a real browser, and what it says at many stops beside what Python says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import opening
import recorded
from edgequant.report.answer import Answer, Limits
from edgequant.report.choices import choices
from edgequant.report.columns import standing
from edgequant.report.page import typeset
from edgequant.report.pick import pick
from edgequant.report.table import Report
from opening import Opened, names, planned, under, written
from situations import situations as recorded_situations

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with opening.chromium() as browser:
        yield browser


@pytest.fixture
def opened(chromium: Any) -> Iterator[Any]:
    with opening.pages(chromium) as one:
        yield one


@pytest.fixture(scope="module")
def report() -> Report:
    return planned(recorded.report())


@pytest.fixture(scope="module")
def path(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(report, tmp_path_factory.mktemp("report"))


def test_a_column_sorts_up_and_down_and_keeps_what_is_missing_last(opened: Any, path: Path, report: Report) -> None:
    it = opened(path)
    header = it.page.locator(".comparison thead th", has_text="KL div.")
    known = sorted((r for r in report.rows if r.value("kl_divergence") is not None),
                   key=lambda r: r.value("kl_divergence") or 0)  # fmt: skip
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert names(it) == [*(r.format for r in known), recorded.CRASHED]
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert names(it) == [*(r.format for r in reversed(known)), recorded.CRASHED]
    assert it.page.locator("[aria-sort]").count() == 1


def test_every_column_sorts_by_the_keyboard(opened: Any, path: Path, report: Report) -> None:
    it = opened(path)
    it.page.locator("[data-columns]").check()
    buttons = it.page.locator(".comparison thead button")
    for n in range(buttons.count()):
        buttons.nth(n).focus()
        it.page.keyboard.press("Enter")
        assert it.page.locator(".comparison thead th").nth(n).get_attribute("aria-sort") == "ascending"
        assert len(names(it)) == len(report.rows)
    it.page.locator(".comparison thead button", has_text="Format").click()
    assert names(it) == sorted(names(it), key=str.lower)


def test_the_table_filters_by_text_container_and_verdict(opened: Any, path: Path, report: Report) -> None:
    it = opened(path)
    box = it.page.get_by_label("Filter", exact=True)
    box.fill("FELL BACK")
    assert set(names(it)) == set(recorded.NOTES)
    assert it.page.locator(".count").first.text_content() == f"{len(recorded.NOTES)} of {len(report.rows)} formats"
    box.fill("")
    it.page.get_by_label("Container").select_option("onnx")
    assert set(names(it)) == {"onnx-fp32", "onnx-int8-dynamic"}
    it.page.get_by_label("Container").select_option("")
    it.page.locator("[data-filter=standing]").select_option("out")
    assert set(names(it)) == {v.format for v in report.answer.verdicts if v.standing == "out"}
    box.fill("no format is called so")
    assert names(it) == [] and it.page.get_by_text("No format matches the filter.").is_visible()


def test_further_columns_are_shown_on_demand(opened: Any, path: Path) -> None:
    it = opened(path)
    header = it.page.locator(".comparison thead th", has_text="Perpl.").first
    assert not header.is_visible()
    it.page.locator("[data-columns]").check()
    assert header.is_visible()


def test_marks_and_verdicts_explain_themselves_to_the_keyboard(opened: Any, path: Path) -> None:
    it = opened(path)
    row = it.page.locator(".comparison tbody tr", has=it.page.get_by_text("Q6_K", exact=True))
    mark = row.locator("a.mark.warning")
    mark.focus()
    it.page.keyboard.press("Enter")
    tip = it.page.locator("#tip")
    assert tip.is_visible() and recorded.NOTES["Q6_K"][0].split(": ")[1] in (tip.text_content() or "")
    note = (mark.get_attribute("aria-describedby") or "").strip()
    described = it.ask("e => document.getElementById(e).textContent", note)
    assert "fit no block of its types" in described
    it.page.keyboard.press("Escape")
    assert not tip.is_visible()
    crashed = it.page.locator(".comparison tbody tr", has=it.page.get_by_text(recorded.CRASHED, exact=True))
    crashed.locator("button.badge").press("Enter")
    assert "SIGSEGV" in (tip.text_content() or "")


def test_a_slider_moves_the_pick_the_table_and_the_pictures(opened: Any, path: Path, report: Report) -> None:
    it = opened(path)
    page = it.drawn()
    before = page.locator("#answer").text_content()
    slider = page.get_by_label("Decode", exact=True)
    for _ in range(40):
        slider.press("ArrowRight")
    it.drawn(times=2)
    said = page.locator("#answer").text_content()
    assert said != before and said == "Ship Q4_0."
    assert "at least" in (slider.get_attribute("aria-valuetext") or "")
    assert page.locator("tr.chosen th bdi").text_content() == "Q4_0"
    page.wait_for_timeout(100)
    lines = it.ask("document.getElementById('plot-speed').layout.shapes.map(e => e.x0)")
    fastest = max(r.value("decode_tokens_per_second") or 0 for r in report.rows)
    assert lines == [pytest.approx(fastest, rel=0.01)]
    page.get_by_role("button", name="Back to the report's limits").click()
    assert page.locator("#answer").text_content() == before


def situations() -> dict[str, Report]:
    """Recorded situations: with and without a quantised source, with limits of their own, with nothing that fits."""
    plain: dict[str, Any] = {"quantised_source": None}
    return {
        "a quantised source": recorded.report(),
        "none": under(Limits(), **plain),
        "limits without controls": under(Limits(max_size_bytes=120e6, min_prefill=550), **plain),
        "limits with controls": under(Limits(max_memory_bytes=250e6, min_decode=100, max_loss=5), **plain),
        "size first": under(Limits(prefer="size"), **plain),
        "nothing fits": under(Limits(max_size_bytes=1e6), **plain),
    }


SAYS = """positions => {
  const inputs = [0, 1, 2].map(n => document.getElementById(`limit-${n}`));
  const form = document.getElementById('controls');
  const text = e => [...e].map(x => x.textContent);
  return positions.map(([i, j, k, p]) => {
    [i, j, k].forEach((at, n) => { inputs[n].value = at; });
    form.elements.prefer.value = p;
    form.dispatchEvent(new Event('input'));
    return {
      headline: document.getElementById('answer').textContent,
      chosen: text(document.querySelectorAll('tr.chosen th bdi'))[0] ?? null,
      standing: Object.fromEntries([...document.querySelectorAll('tr[data-format]')].map(
        r => [r.querySelector('th bdi').textContent, r.querySelector('.badge').textContent])),
      because: Object.fromEntries([...document.querySelectorAll('tr[data-format]')].map(
        r => [r.querySelector('th bdi').textContent, text(r.querySelectorAll('.because p'))])),
      said: [...text(document.querySelectorAll('.lead')), ...text(document.querySelectorAll('.why li')),
             ...text(document.querySelectorAll('.cards p'))],
    };
  });
}"""


@pytest.mark.parametrize("name", situations())
def test_the_page_says_what_pick_says(opened: Any, tmp_path: Path, name: str) -> None:
    report = situations()[name]
    asked_at_many_stops(opened(written(report, tmp_path)), report, n=60)


def test_the_page_says_what_pick_says_in_every_situation_of_the_table(
    opened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgequant.report.page.plotly_script", lambda: "")
    plain = recorded.report(quantised_source=None)
    for number, told in enumerate(recorded_situations()):
        report = replace(plain, rows=tuple(told.rows), answer=pick(told.rows, told.limits), groups=())
        it = opened(written(report, tmp_path / str(number)))
        asked_at_many_stops(it, report, n=10)
        it.context.close()


def asked_at_many_stops(it: Opened, report: Report, *, n: int) -> None:
    """Compare the page with `pick` at so many places of the controls by chance, and at both ends."""
    sliders = choices(report).sliders
    counts = [len(slider["stops"]) for slider in sliders]
    dice = random.Random(11)
    asked = [(*(dice.randrange(count) for count in counts), dice.randrange(3)) for _ in range(n)]
    asked += [(0, 0, 0, 0), (*(count - 1 for count in counts), 0)]
    # a slider of a least speed runs from no limit on the left to the tightest on the right
    shown = [[i, counts[1] - 1 - j, k, p] for i, j, k, p in asked]
    for at, said in zip(asked, it.ask(SAYS, shown), strict=True):
        values = {s["key"]: s["stops"][n]["value"] for s, n in zip(sliders, at, strict=False)}
        prefer = ("quality", "speed", "size")[at[3]]
        compare(report, pick(report.rows, replace(report.answer.limits, **values, prefer=prefer)), said)


def compare(report: Report, answer: Answer, said: dict[str, Any]) -> None:
    assert said["headline"] == typeset(answer.headline)
    assert said["chosen"] == answer.pick
    assert said["standing"] == {row.format: standing(row, answer) for row in report.rows}
    for verdict in answer.verdicts:
        reasons = dict.fromkeys(typeset(reason.sentence) for reason in verdict.reasons)
        assert said["because"][verdict.format] == list(reasons)
    for sentence in (answer.detail, *answer.reasons, answer.confidence, *answer.changes, answer.runner_up_reason):
        assert typeset(sentence) in "\n".join(said["said"])
