"""The comment, the issue and the step summary as people see them on GitHub: rendered as Markdown, opened in a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from ci_runner.report.comment import Context, Money, part_of
from ci_runner.report.page import render_page
from ci_runner.report.parts import assemble
from ci_runner.report.summary import render_summary_markdown
from tests import report_samples as samples
from tests.chromium import Chromium
from tests.unit.test_comment import compared, with_place

pytestmark = pytest.mark.needs("chromium")

# What matters of GitHub's own style: the column, code that scrolls inside itself, tables that scroll inside themselves.
STYLE = """
body { margin: 0; font: 14px/1.5 "DejaVu Sans", sans-serif; color: #1f2328; background: #fff; }
main { max-width: 830px; margin: 16px auto; padding: 16px; border: 1px solid #d1d9e0; border-radius: 6px;
  box-sizing: border-box; overflow-wrap: break-word; }
@media (max-width: 700px) { main { margin: 8px; padding: 12px; } }
table { display: block; width: max-content; max-width: 100%; overflow: auto; border-collapse: collapse; }
td, th { border: 1px solid #d1d9e0; padding: 6px 13px; }
pre { overflow: auto; background: #f6f8fa; padding: 12px; } code { font-size: 85%; overflow-wrap: break-word; }
blockquote { margin: 0; padding: 0 1em; border-left: 4px solid #d1d9e0; }
"""
MONEY = Money(pull_request=0.41, budget="team", spent=212.0, limit=2_000.0)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT = """[...document.querySelectorAll('h3, p, li, blockquote, summary')]
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.textContent.slice(0, 80))"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(tmp_path / "profile") as chromium:
        yield chromium


def pictures(tmp_path: Path) -> Path:
    """Where the pictures go: a folder that a person names to look at them, else one that goes away."""
    folder = Path(os.environ.get("CI_RUNNER_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def rendered(markdown: str, file: Path) -> Path:
    """Markdown as GitHub shows it, near enough."""
    body = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)
    page = f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    file.write_text(f"{page}<main>{body}</main>", encoding="utf-8")
    return file


def comment(name: str) -> str:
    result = with_place(samples.SAMPLES[name]())
    context = Context(
        comparison=compared(result), money=MONEY, run_url="https://github.com/org/repo/actions/runs/1"
    )
    return assemble("tests", [part_of("unit", result, context)])


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["everything", "green", "no_capacity", "red", "hostile"])
def test_a_comment_is_readable(browser: Chromium, tmp_path: Path, name: str, width: int) -> None:
    page = rendered(comment(name), tmp_path / f"{name}.html")
    browser.open(page, width=width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate(OVERFLOW) <= 0
    assert browser.evaluate(CUT) == []
    headline = browser.evaluate("document.querySelector('h3').textContent")
    assert headline.split(" ", 1)[0] in ("✅", "❌", "⚠️")
    assert (
        browser.evaluate("document.querySelectorAll('img, script, iframe, a[href^=\"javascript\"]').length")
        == 0
    )
    assert browser.requests() == [page.as_uri()]
    assert browser.complaints() == []
    browser.photograph(pictures(tmp_path) / f"comment-{name}-{width}.png")


def test_what_is_hidden_opens_with_a_click(browser: Chromium, tmp_path: Path) -> None:
    browser.open(rendered(comment("red"), tmp_path / "red.html"))
    assert browser.evaluate("document.querySelectorAll('details[open]').length") == 0
    browser.evaluate("document.querySelector('summary').click()")
    assert browser.evaluate("document.querySelector('details[open] pre').getBoundingClientRect().height") > 20
    # every block is where it was written: nothing closed what it stands in too early
    assert browser.evaluate("[...document.querySelectorAll('pre')].every((each) => each.closest('details'))")


@pytest.mark.parametrize("width", [390, 1280])
def test_summary_and_page_are_readable(browser: Chromium, tmp_path: Path, width: int) -> None:
    result = samples.SAMPLES["everything"]()
    browser.open(rendered(render_summary_markdown(result), tmp_path / "summary.html"), width=width)
    assert browser.evaluate(OVERFLOW) <= 0
    browser.photograph(pictures(tmp_path) / f"summary-{width}.png")
    page = tmp_path / "report.html"
    page.write_text(render_page(result), encoding="utf-8")
    browser.open(page, width=width)
    assert browser.evaluate(OVERFLOW) <= 0
    browser.photograph(pictures(tmp_path) / f"page-{width}.png")
