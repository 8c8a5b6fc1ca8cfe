"""Terminal, Markdown, page and files from recorded samples, without a browser."""

import html
import html.parser
import json
import re
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

import recorded
from edgequant import Error
from edgequant.report import columns, files, numbers, page, scripts, stored, terminal
from edgequant.report.answer import Limits
from edgequant.report.markdown import escaped, markdown
from edgequant.report.table import Report, build


def printed(report: Report, width: int) -> list[str]:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(terminal.table(report))
    return captured.get().splitlines()


@pytest.fixture(scope="module")
def report() -> Report:
    return recorded.report()


@pytest.fixture
def no_plotly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "plotly_script", lambda: "")


class Page(html.parser.HTMLParser):
    """Elements, attributes and text outside scripts, as a parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style") else self.inside

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        (self.scripts if self.inside == "script" else self.text).append(data)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_terminal_table_keeps_to_its_width(report: Report, width: int) -> None:
    lines = printed(report, width)
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    for name in [*recorded.RECORDED, recorded.CRASHED]:
        assert sum(line.startswith(name + " ") for line in lines) == 1


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_in_the_table_is_cut(report: Report, width: int) -> None:
    lines = printed(report, width)
    body = lines[: next(i for i, line in enumerate(lines) if line.startswith("Size:"))]
    assert not any("\u2026" in line for line in body)
    assert any(re.match(r"Q6_K +138 MB +201 MB .*151.*0\.0074", line) for line in body)


def test_a_wider_terminal_shows_more(report: Report) -> None:
    heads = [printed(report, width)[1] for width in (80, 120, 220)]
    assert [head.count("95 %") for head in heads] == sorted(head.count("95 %") for head in heads)
    assert "Accuracy" not in heads[0] and "Accuracy" in heads[1]
    wanted = {c.title for c in columns.told(report.rows) if c.rank <= 9}
    assert wanted <= set(re.split(r"\s{2,}", printed(report, 300)[1]))


def test_what_was_left_out_is_said(report: Report) -> None:
    text = " ".join(" ".join(printed(report, 80)).split())
    assert "Left out at this width:" in text and "interval of Loss" in text


def test_the_terminal_ends_with_the_answer(report: Report) -> None:
    text = " ".join(" ".join(printed(report, 120)).split())
    assert text.index("Ship the source file as it is (Q4_1).") > text.index("Accuracy cannot tell apart")
    assert "Limits: memory up to 6.40 GB (peak RSS); quality preferred." in text


def test_control_characters_never_reach_the_terminal() -> None:
    text = "\n".join(printed(recorded.hostile(), 120))
    assert "\x1b" not in text
    assert "[red]" in text


def test_markdown_has_every_row_and_column(report: Report) -> None:
    lines = [line for line in markdown(report).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(report.rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(columns.told(report.rows)) + 4}


def test_markdown_survives_hostile_names() -> None:
    report = recorded.hostile()
    text = markdown(report)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(columns.told(report.rows)) + 4}
    assert not re.search(r"(?<!\\)<", text)


@pytest.mark.parametrize(
    "raw, safe",
    [
        ("Q4_K_M", "Q4_K_M"),
        ("_x_", r"\_x\_"),
        ("a|b", r"a\|b"),
        ("<b>", r"\<b\>"),
        ("a\nb", "a b"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_markdown_escapes(raw: str, safe: str) -> None:
    assert escaped(raw) == safe


def test_the_page_answers_before_it_loads_the_pictures(report: Report) -> None:
    text = page.page(report)
    first_script = text.index("<script>")
    assert text.index("Ship the source") < text.index("<table") < text.rindex("</table>") < first_script
    assert first_script < text.index('id="plotly"')
    assert text.rstrip().endswith("</script>\n</body>\n</html>")
    assert len(text.encode()) < 6_000_000


@pytest.mark.usefixtures("no_plotly")
def test_without_plotly_the_page_has_the_table_and_says_why_no_pictures(report: Report) -> None:
    text = html.unescape(page.page(report))
    assert "[report] extra" in text and "<table" in text and "<figure" not in text
    assert 'id="plotly"' not in text
    assert len(text) < 1_000_000


def test_plotly_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert scripts.plotly_script() == ""


@pytest.mark.usefixtures("no_plotly")
def test_the_page_asks_for_nothing_from_outside(report: Report) -> None:
    for tag, attributes in Page(page.page(report)).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed")
        assert not {"src", "srcset", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")


def test_every_picture_has_words(report: Report) -> None:
    made = Page(page.page(report))
    labels = [a["aria-label"] for tag, a in made.tags if tag == "div" and a.get("role") == "img"]
    assert len(labels) == 4 and sum(tag == "figcaption" for tag, _ in made.tags) == 4
    for name in recorded.RECORDED:
        assert all(label and name in label for label in labels[:2])


@pytest.mark.usefixtures("no_plotly")
def test_hostile_names_stay_text() -> None:
    clean, evil = Page(page.page(recorded.report())), Page(page.page(recorded.hostile()))
    assert not any(tag == "img" or "onerror" in attributes for tag, attributes in evil.tags)
    assert sum(tag == "script" for tag, _ in evil.tags) == sum(tag == "script" for tag, _ in clean.tags)
    assert any(scripts.visible(recorded.HOSTILE) in text for text in evil.text)
    rows, values = (json.loads(script) for script in evil.scripts[:2])
    assert {r["format"] for r in rows} >= {recorded.HOSTILE, "Q8_0"}
    assert recorded.HOSTILE in values["choices"]["formats"]
    assert not any(c in script for script in evil.scripts[:2] for c in "<>&")
    assert evil.scripts[2:] == clean.scripts[2:]
    assert "49" not in "".join(t for t in evil.text if "{{7*7}}" in t)


@pytest.mark.usefixtures("no_plotly")
def test_failed_cells_are_in_words(report: Report) -> None:
    text = " ".join(Page(page.page(report)).text)
    assert "crashed" in text and "SIGSEGV in the third repetition of prefill" in text


def test_a_page_without_a_pick() -> None:
    made = build(
        recorded.artifacts(),
        recorded.measurements(),
        device=recorded.device(),
        context=recorded.context(),
        limits=Limits(min_decode=1e6),
    )
    assert "No pick" in page.page(made)
    assert "Nothing fits." in markdown(made)
    assert any("Nothing fits." in line for line in printed(made, 80))


def test_everything_empty_still_makes_pages(tmp_path: Path) -> None:
    empty = build([], [], device=recorded.device(), context=recorded.context(quantised_source=None, reference=""))
    files.write(empty, tmp_path)
    assert any("Nothing can be picked" in line for line in printed(empty, 80))


def test_files_are_written_whole(report: Report, tmp_path: Path) -> None:
    paths = files.write(report, tmp_path / "new" / "folder")
    assert sorted(p.name for p in paths.values()) == ["report.html", "report.json", "report.md"]
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == sorted(paths)
    assert stored.from_json(json.loads(paths["report.json"].read_text())) == report


def test_a_failed_write_leaves_the_old_report(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.md").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Error, match="No space left"):
        files.write(report, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.md"]
    assert (tmp_path / "report.md").read_text() == "old"


def test_a_folder_that_is_a_file_is_an_error(report: Report, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(Error, match="cannot write"):
        files.write(report, tmp_path / "taken")


def test_the_same_report_gives_the_same_bytes(report: Report, tmp_path: Path) -> None:
    once, again = files.write(report, tmp_path / "a"), files.write(recorded.report(), tmp_path / "b")
    assert all(once[name].read_bytes() == again[name].read_bytes() for name in once)


@pytest.mark.parametrize(
    "n_bytes, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (98.4e6, "98.4 MB"),
        (144_800_000, "145 MB"),
        (999_700_000, "1.00 GB"),
        (2.1e9, "2.10 GB"),
    ],
)
def test_sizes(n_bytes: float, text: str) -> None:
    assert numbers.size(n_bytes) == text


@pytest.mark.parametrize(
    "value, text",
    [(0, "0"), (0.0071, "0.00710"), (0.02, "0.0200"), (1.0, "1.00"), (99.96, "100"), (999.7, "1000"), (1523.4, "1523"),
     (3e-7, "3e-07"), (-2.5, "-2.50")],
)  # fmt: skip
def test_digits(value: float, text: str) -> None:
    assert numbers.digits(value) == text


@pytest.mark.parametrize("value, text", [(-0.04, "0.0"), (0.04, "0.0"), (-3.21, "-3.2")])
def test_points(value: float, text: str) -> None:
    assert numbers.points(value) == text
