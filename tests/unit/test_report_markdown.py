"""The Markdown summary: failures first, three lines when green, within its budget, and nothing foreign is active."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_runner.model import Counts, Outcome, Skip, Verdict
from ci_runner.report import markdown
from ci_runner.report.summary import is_plain_green, render_summary_markdown
from tests import golden
from tests import report_samples as samples
from tests.hostile_text import active_in_markdown, tokens

FOREIGN = st.lists(
    st.sampled_from(list("@#`<>[]()|*_~!:/\\&;-+=. \n\r$\"'ab1") + list(samples.HOSTILE))
    | st.text(max_size=4),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("name", [name for name in samples.SAMPLES if name not in ("hostile", "large")])
def test_a_summary_is_as_expected(name: str) -> None:
    golden.check(f"{name}.md", render_summary_markdown(samples.SAMPLES[name]()))


def test_a_green_summary_is_three_lines() -> None:
    result = samples.green()
    skipped = dataclasses.replace(result.plan, skipped=(Skip(suite="gpu", reason="no label run-gpu-tests"),))
    text = render_summary_markdown(
        dataclasses.replace(result, plan=skipped, notes=("with uncommitted changes",))
    )
    assert len(text.splitlines()) == 3
    assert text.startswith("### ✅ 1,004 passed · 1 skipped · 50.3 s\n")
    assert "Not run: gpu (no label run-gpu-tests)" in text
    assert text.endswith("with uncommitted changes\n")


def test_a_flaky_run_is_green_but_not_plain() -> None:
    flaky = samples.case("tests/test_a.py::test_b", flaky=True)
    result = samples.run_result(samples.suite_result([flaky]))
    assert not is_plain_green(result)
    text = render_summary_markdown(result)
    assert text.startswith("### ✅ 1 passed · 1 flaky")
    assert "`tests/test_a.py::test_b`" in text


def test_what_was_not_tested_never_looks_like_a_failing_test() -> None:
    first = render_summary_markdown(samples.no_capacity()).splitlines()[0]
    assert first.startswith("### ⚠️ not tested: no TPU capacity in 3 zones for 20 min")
    assert "failed" not in first


def test_hostile_text_is_only_text() -> None:
    text = render_summary_markdown(samples.hostile())
    assert active_in_markdown(text) == []
    assert len(text.encode()) <= 1_000_000
    rows = [token for token in tokens(text) if token.type == "tr_open"]
    assert len(rows) >= 2  # the table survived the pipes


@given(FOREIGN)
@settings(max_examples=300)
def test_no_foreign_text_is_active(text: str) -> None:
    assert active_in_markdown(f"x {markdown.text(text)}\n") == []
    assert active_in_markdown(f"- {markdown.code(text)} end\n") == []
    assert (
        active_in_markdown(f"<details><summary><code>{markdown.html_text(text)}</code></summary>\n\nx\n")
        == []
    )
    (fence, *rest) = tokens(markdown.block(text))
    assert fence.type == "fence"
    assert rest == []
    table = tokens(f"| a | b |\n|---|---|\n| {markdown.cell(text)} | {markdown.text(text)} |\n")
    assert sum(token.type == "td_open" for token in table) == 2
    assert (
        active_in_markdown(f"| a | b |\n|---|---|\n| {markdown.cell(text)} | {markdown.text(text)} |\n") == []
    )


@given(
    st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="`"), min_size=1, max_size=30)
)
def test_a_code_span_says_what_was_meant(text: str) -> None:
    (_, inline, _) = tokens(f"x {markdown.code(text)}\n")
    (span,) = [token for token in inline.children if token.type == "code_inline"]
    assert span.content.replace("##\\[", "##[").replace("\\::", "::") == text


def test_whole_sections_are_shed_with_a_word() -> None:
    whole = render_summary_markdown(samples.everything())
    assert "Left out" not in whole
    smaller = render_summary_markdown(samples.everything(), budget_bytes=len(whole.encode()) - 1)
    assert "Left out for lack of room: slow tests." in smaller
    assert "Slowest tests" not in smaller
    assert "**Failed**" in smaller
    for budget in (4_000, 2_000, 1_000, 400, 50, 0):
        assert len(render_summary_markdown(samples.everything(), budget_bytes=budget).encode()) <= budget
    small = render_summary_markdown(samples.everything(), budget_bytes=2_000)
    assert small.startswith("### ⚠️ incomplete")
    assert "tracebacks" in small
    assert len(render_summary_markdown(samples.green(), budget_bytes=100).encode()) <= 100


def test_a_thousand_failures_are_counted_not_listed() -> None:
    result = samples.run_result(
        samples.suite_result(
            [samples.case(f"t{i}", Outcome.FAILED) for i in range(1000)]
            + [samples.case(f"m{i}", Outcome.MISSING) for i in range(80)]
        )
    )
    text = render_summary_markdown(result)
    assert "and 900 more failures." in text
    assert "and 30 more" in text


def test_nothing_due_is_green_and_says_so() -> None:
    empty = dataclasses.replace(samples.green(), suites=(), counts=Counts(), verdict=Verdict.PASSED)
    assert render_summary_markdown(empty).startswith("### ✅ nothing due · 50.3 s\n")
