"""The page in a real browser: drawn, fetching nothing, at every width, accessible, printed, with hostile text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import opening
import recorded
from edgequant.report import scripts, stored
from edgequant.report.answer import Limits
from edgequant.report.page import typeset
from edgequant.report.table import Report, build
from opening import names, planned, under, written

pytestmark = pytest.mark.slow
WIDTHS = (360, 390, 768, 1440)


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


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(recorded.hostile(), tmp_path_factory.mktemp("hostile"))


def test_every_picture_is_drawn_without_a_word_from_the_console(opened: Any, path: Path) -> None:
    it = opened(path)
    it.drawn()
    drawn = it.ask(
        "[...document.querySelectorAll('.plot')].map(e => [e.id, e.querySelectorAll('svg.main-svg').length])"
    )
    assert [name for name, n in drawn if n] == ["plot-size", "plot-speed", "plot-loss", "plot-memory", "plot-agreement"]
    assert it.complaints == []


def test_nothing_is_fetched(opened: Any, path: Path) -> None:
    it = opened(path)
    it.drawn()
    assert [url for url in it.asked if not url.startswith(("data:", "blob:"))] == [path.as_uri()]


def test_the_text_is_painted_before_the_charting_library_runs(opened: Any, path: Path) -> None:
    it = opened(path)
    it.drawn()
    painted = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    library = "performance.getEntriesByName('library')[0].startTime"
    assert it.ask(f"{painted} < {library}")


def test_the_policy_forbids_what_the_page_does_not_need(opened: Any, path: Path) -> None:
    it = opened(path)
    it.ask("fetch('https://example.invalid/x').catch(() => {})")
    it.ask(
        "{ const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); } 0"
    )
    assert it.ask("window.ran ?? null") is None
    assert sum("Content Security Policy" in text for text in it.complaints) >= 2


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_only_tables_scroll_sideways(opened: Any, path: Path, hostile: Path, which: str, width: int) -> None:
    it = opened(path if which == "plain" else hostile, width=width)
    it.drawn()
    it.ask("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert it.ask("document.documentElement.scrollWidth") <= width
    wide = it.ask(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg, pre, .js-plotly-plot') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 200))"
    )
    assert wide == []
    assert it.ask(
        "[...document.querySelectorAll('.plot')].every(e => "
        "e.querySelector('svg').getBoundingClientRect().width <= e.clientWidth + 1)"
    )


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(opened: Any, path: Path, width: int, dark: bool) -> None:
    from axe_core_python.sync_playwright import Axe

    it = opened(path, width=width, dark=dark)
    it.drawn()
    it.page.evaluate("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    it.page.get_by_label("Memory", exact=True).press("ArrowLeft")
    it.page.locator("[data-columns]").check()
    found = Axe().run(it.page)["violations"]
    grave = [(v["id"], [n["html"][:160] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]
    assert grave == []


def test_a_phone_turned_on_its_side_gets_its_pictures_redrawn(opened: Any, path: Path) -> None:
    it = opened(path, width=844)
    page = it.drawn()
    page.set_viewport_size({"width": 390, "height": 844})
    it.drawn(times=2)
    page.wait_for_function("() => document.querySelector('.plot svg').getBoundingClientRect().width < 390")


def test_the_first_column_stays_while_the_table_scrolls(opened: Any, path: Path) -> None:
    it = opened(path, width=390)
    left = "document.querySelector('.comparison tbody th').getBoundingClientRect().left"
    start = it.ask(left)
    it.ask("document.querySelector('.comparison .scroll').scrollLeft = 300")
    assert it.ask("document.querySelector('.comparison .scroll').scrollLeft") == 300
    assert it.ask(left) == start


def test_switching_to_dark_recolours_the_pictures(opened: Any, path: Path) -> None:
    it = opened(path)
    page = it.drawn()
    fill = "getComputedStyle(document.querySelector('#plot-loss .ytick text')).fill"
    light = it.ask(fill)
    page.emulate_media(color_scheme="dark")
    it.drawn(times=2)
    assert it.ask(fill) != light


def test_kinds_and_verdicts_differ_in_shape(opened: Any, path: Path) -> None:
    it = opened(path)
    it.drawn()
    marks = it.ask("document.getElementById('plot-size').data[1].marker")
    assert set(marks["symbol"]) == {"circle", "diamond", "square"}
    formats = it.ask("edgequant.values.figures[0].data.points.map(p => p.name)")
    inside, edge = (dict(zip(formats, colours, strict=True)) for colours in (marks["color"], marks["line"]["color"]))
    assert inside["F16"] == edge["source"] != inside["source"]  # F16 is out, so hollow: larger than the source


def test_the_raw_rows_are_in_the_page_and_can_be_saved(opened: Any, path: Path, report: Report) -> None:
    it = opened(path)
    rows = it.ask("JSON.parse(document.getElementById('rows').textContent)")
    assert rows == stored.encode(report.measurements)
    with it.page.expect_download() as download:
        it.page.get_by_role("link", name="rows.json").click()
    assert json.loads(Path(download.value.path()).read_text()) == rows


def test_many_rows_are_packed(opened: Any, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgequant.report.page.LARGE", 1000)
    it = opened(written(report, tmp_path))
    rows = it.ask("edgequant.unpack(document.getElementById('rows').textContent).then(JSON.parse)")
    assert rows == stored.encode(report.measurements)
    assert it.page.get_by_role("link", name="rows.json").is_visible() or it.complaints == []


def test_names_from_outside_are_shown_and_never_run(opened: Any, hostile: Path) -> None:
    it = opened(hostile)
    it.drawn()
    shown = scripts.visible(recorded.HOSTILE)
    assert it.ask("window.owned ?? null") is None
    assert it.page.locator("h1").inner_text().startswith(shown)
    assert it.ask("document.querySelectorAll('main img, main script, main iframe').length") == 0
    assert shown in names(it)
    it.page.get_by_role("radio", name="Speed").check()
    assert it.page.locator("#answer").inner_text() == typeset(f"Ship {shown}.")
    rows = it.ask("JSON.parse(document.getElementById('rows').textContent).map(r => r.format)")
    assert recorded.HOSTILE in rows
    drawn = it.ask("[...document.querySelectorAll('#plot-loss .ytick text')].map(e => e.textContent)")
    assert any(label.startswith(recorded.HOSTILE[:15]) for label in drawn)
    assert it.ask("window.owned ?? null") is None and it.complaints == []


def test_the_page_prints(opened: Any, path: Path) -> None:
    it = opened(path, dark=True)
    page = it.drawn()
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.startswith(b"%PDF")
    assert b"/MediaBox [0 0 841" in printed or b"/MediaBox [0 0 842" in printed  # landscape A4, in points
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible() and page.locator("#answer").is_visible()


@pytest.mark.parametrize("which", ["nothing to pick", "one format", "nothing at all", "no pictures"])
def test_odd_runs_make_whole_pages(opened: Any, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if which == "no pictures":
        monkeypatch.setattr("edgequant.report.page.plotly_script", lambda: "")
    bare = recorded.context(quantised_source=None, reference="")
    one = [row for row in recorded.measurements() if row.format == "F16"]
    made = {
        "nothing to pick": under(Limits(max_size_bytes=1e6)),
        "one format": build([recorded.artifact("F16")], one, device=recorded.device(), context=bare),
        "nothing at all": build([], [], device=recorded.device(), context=bare),
        "no pictures": recorded.report(),
    }[which]
    it = opened(written(made, tmp_path))
    assert it.page.locator("#answer").inner_text() == typeset(made.answer.headline)
    assert it.page.locator("#controls").is_visible() == (len(made.rows) > 1)
    assert it.complaints == []
