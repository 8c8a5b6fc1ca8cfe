"""The page in a real browser: Debian's Chromium, driven by Playwright, opened from disk with the network off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import recorded
from edgequant.profiles.planning.footprint import Line
from edgequant.report import files
from edgequant.report.answer import Limits
from edgequant.report.predictions import Prediction
from edgequant.report.table import Report, build

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


PATIENCE_MILLISECONDS = 20_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser; the test is skipped where there is none, unless one is demanded."""
    demanded = os.environ.get("EDGEQUANT_REQUIRE_BROWSER") == "1"
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if demanded:
            pytest.fail("EDGEQUANT_REQUIRE_BROWSER is 1, and no Chromium was found")
        pytest.skip("no Chromium was found, so the page was not opened in a browser")
    if not demanded:
        pytest.importorskip("plotly", reason="the pictures need the [report] extra")
        pytest.importorskip("playwright", reason="the browser is driven by the [dev] extra's Playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page that was opened from disk with the network off, what it asked for, and what its console said."""

    def __init__(self, browser: Browser, path: Path, *, width: int = 1440, dark: bool = False) -> None:
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        self.context.set_offline(True)
        self.context.set_default_timeout(PATIENCE_MILLISECONDS)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def drawn(self, times: int = 1) -> Page:
        """The page once its pictures have been drawn so many times."""
        self.page.locator("html[data-drawn]").wait_for(state="attached")
        while int(self.page.get_attribute("html", "data-drawn") or 0) < times:
            self.page.wait_for_timeout(20)
        return self.page

    def ask(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)


@contextmanager
def pages(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """What opens pages; they are closed at the end."""
    made: list[Opened] = []

    def one(path: Path, **how: Any) -> Opened:
        made.append(Opened(browser, path, **how))
        return made[-1]

    yield one
    for each in made:
        each.context.close()


def planned(report: Report) -> Report:
    """The report with predictions of two formats: every kind of picture is in it."""
    line = Line(intercept_bytes=190_000_000, bytes_per_token=25_000, from_tokens=512)
    one = Prediction(
        context=2048,
        trained_context=8192,
        peak_memory_bytes=241_000_000,
        memory=line,
        largest_context=8192,
        speeds={"decode_tokens_per_second": recorded.paired(150, 120, 180).loss},
    )
    return replace(report, planned={"Q8_0": one, "F16": replace(one, peak_memory_bytes=360_000_000)})


def written(report: Report, folder: Path) -> Path:
    """The page of a report, in a folder."""
    return files.write(report, folder)["report.html"]


def under(limits: Limits, **changes: Any) -> Report:
    """The recorded run under other limits."""
    return build(
        recorded.artifacts(),
        recorded.measurements(),
        device=recorded.device(),
        context=recorded.context(**changes),
        limits=limits,
    )


def names(it: Opened) -> list[str]:
    """The formats that the table shows, from top to bottom."""
    found: list[str] = it.ask(
        "[...document.querySelectorAll('.comparison tbody tr')].filter(e => !e.hidden)"
        ".map(e => e.querySelector('th bdi').textContent)"
    )
    return found
