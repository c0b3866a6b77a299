"""The report page as people meet it: made by a real run, opened from disk in a browser."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.report.page import render_page
from tests import report_samples
from tests.chromium import Chromium
from tests.projects import Ended, Project, make_project

pytestmark = pytest.mark.needs("chromium")

TESTS = """
import pytest

HOSTILE = [
    "</script><script>document.title = 'taken'</script>",
    "<img src=x onerror=\\"document.title = 'taken'\\">",
    "<b>bold</b> &amp; https://evil.example/track.png",
    "\\u202egnp.exe",
    "x" * 400,
    "needle in a haystack",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text)
def test_passes(text):
    pass


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text)
def test_fails(text):
    print(text)
    assert text == "something else", text


def test_is_skipped():
    pytest.skip("</script><img src=https://evil.example/x.png> not here")


@pytest.fixture
def broken():
    raise RuntimeError("<svg onload=alert(1)> no such thing")


def test_has_an_error(broken):
    pass
"""
EXPECTED = {"tests": 14, "passed": 6, "failed": 6, "errored": 1, "skipped": 1, "flaky": 0, "missing": 0}
TILES = (
    "Object.fromEntries([...document.querySelectorAll('[data-count]')]"
    ".map((tile) => [tile.dataset.count, tile.textContent.trim()]))"
)
ROWS = "document.querySelectorAll('#cases tbody tr').length"
SHOWN = "document.getElementById('shown').textContent"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Typing ends in an input event; the page redraws in a task after it, or 120 ms later if it holds very many tests.
FILTER = """new Promise((resolve) => {
  const box = document.getElementById("filter");
  new MutationObserver((_, watch) => { watch.disconnect(); resolve(); })
    .observe(document.querySelector("#cases tbody"), { childList: true });
  box.value = %s;
  box.dispatchEvent(new Event("input"));
})"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Ended]:
    """A project whose tests end in every way, and the one run of it that all tests here look at."""
    files = {"tests/test_every_end.py": TESTS}
    project = make_project(
        tmp_path_factory.mktemp("ran"), files, configuration='[suites.unit]\ntests = ["tests"]\n'
    )
    return project, project.ci("run")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    """A browser that ends with the test."""
    with Chromium(tmp_path / "profile") as chromium:
        yield chromium


def report_of(project: Project) -> Path:
    return project.last_run() / "report.html"


def test_page_terminal_and_results_file_count_the_same(ran: tuple[Project, Ended], browser: Chromium) -> None:
    project, ended = ran
    assert ended.code == 1, ended
    results = project.load("results.json")
    assert {name: results[name] for name in EXPECTED} == EXPECTED
    assert re.search(r"\b6 passed, 6 failed, 1 errored, 1 skipped\b", ended.out), ended
    browser.open(report_of(project))
    assert browser.evaluate(TILES) == {
        "failed": "7 failed (1 errored)",
        "missing": "0 missing",
        "flaky": "0 flaky",
        "skipped": "1 skipped",
        "passed": "6 passed",
    }
    assert browser.evaluate(ROWS) == 14
    assert browser.evaluate(SHOWN) == "14 tests"
    assert browser.evaluate("document.querySelectorAll('.failure[open]').length") == 7


@pytest.mark.parametrize("dark", [False, True])
def test_hostile_names_stay_text_and_nothing_is_asked_for_but_the_file(
    ran: tuple[Project, Ended], browser: Chromium, dark: bool
) -> None:
    page = report_of(ran[0])
    browser.open(page, dark=dark)
    browser.evaluate(FILTER % '""')
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert "taken" not in browser.evaluate("document.title")
    assert browser.evaluate("document.querySelectorAll('img, iframe, object, svg[onload]').length") == 0
    names = browser.evaluate("[...document.querySelectorAll('#cases td.test')].map((e) => e.textContent)")
    assert sum("<img src=x onerror=" in name for name in names) == 2
    assert not any("\u202e" in name for name in names)


def test_the_filter_narrows_the_list_and_escape_widens_it(
    ran: tuple[Project, Ended], browser: Chromium
) -> None:
    browser.open(report_of(ran[0]))
    browser.evaluate(FILTER % '"NEEDLE haystack"')
    assert browser.evaluate(ROWS) == 2
    assert browser.evaluate(SHOWN) == "2 shown of 2 that match, 14 tests in all"
    browser.evaluate(FILTER % '"test_fails needle"')
    assert browser.evaluate(ROWS) == 1
    assert browser.evaluate("document.querySelector('#cases td.out').textContent") == "✗ failed"
    browser.evaluate(FILTER % '"no test is called this"')
    assert browser.evaluate(ROWS) == 0
    browser.evaluate("document.getElementById('filter').focus()")
    browser.key("Escape")
    browser.evaluate(
        "new Promise((done) => { const look = () => "
        f"{ROWS} === 14 ? done() : requestAnimationFrame(look); look(); }})"
    )
    browser.evaluate("document.querySelector('button[data-outcome=errored]').click()")
    assert browser.evaluate(ROWS) == 1
    assert browser.evaluate(SHOWN) == "1 shown of 1 that match, 14 tests in all"
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_width_needs_sideways_scrolling(
    ran: tuple[Project, Ended], browser: Chromium, width: int, tmp_path: Path
) -> None:
    browser.open(report_of(ran[0]), width=width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate(OVERFLOW) <= 0
    for name in ("everything", "hung", "setup_failed", "hostile"):
        page = tmp_path / f"{name}.html"
        page.write_text(render_page(report_samples.SAMPLES[name]()), encoding="utf-8")
        browser.open(page, width=width)
        assert browser.evaluate("innerWidth") == width, name
        assert browser.evaluate(OVERFLOW) <= 0, name


def test_without_scripts_the_page_still_tells_everything(
    ran: tuple[Project, Ended], browser: Chromium
) -> None:
    browser.open(report_of(ran[0]), scripts=False)
    document = browser.send("DOM.getDocument", depth=0)["root"]["nodeId"]
    rows = browser.send("DOM.querySelectorAll", nodeId=document, selector="#cases tbody tr")["nodeIds"]
    assert len(rows) == 14
    assert browser.complaints() == []


def test_twenty_thousand_tests_open_and_filter(browser: Chromium, tmp_path: Path) -> None:
    page = tmp_path / "large.html"
    page.write_text(render_page(report_samples.large(20_000)), encoding="utf-8")
    browser.open(page)
    assert browser.evaluate(SHOWN) == "200 shown of 20,000 that match, 20,000 tests in all"
    browser.evaluate(FILTER % '"[19999]"')
    assert browser.evaluate(ROWS) == 1
    assert "test_behaviour[19999]" in browser.evaluate("document.querySelector('td.test').textContent")
    browser.evaluate(FILTER % '"package_7/"')
    assert browser.evaluate(SHOWN) == "200 shown of 200 that match, 20,000 tests in all"
    browser.evaluate(FILTER % '""')
    browser.evaluate("document.getElementById('more').click()")
    assert browser.evaluate(ROWS) == 1_200
    assert browser.complaints() == []


def test_more_than_twenty_thousand_wait_until_typing_stops_and_filter_too(
    browser: Chromium, tmp_path: Path
) -> None:
    page = tmp_path / "larger.html"
    result = report_samples.large(20_001, failing=3)
    page.write_text(render_page(dataclasses.replace(result, notes=("one more",))), encoding="utf-8")
    browser.open(page)
    browser.evaluate(FILTER % '"[20000]"')
    assert browser.evaluate(ROWS) == 1
    assert browser.evaluate(TILES)["failed"] == "3 failed"
