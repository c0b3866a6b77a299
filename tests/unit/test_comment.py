"""The comment: the first line decides, failures come first, many jobs share it, and nothing foreign is active."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.checks.compare import Base, Comparison, compare
from ci_runner.model import Counts, Outcome, RunResult, When
from ci_runner.report import parts as comment_parts
from ci_runner.report.budget import fit, in_bytes, in_characters
from ci_runner.report.comment import Context, Money, comment_values, part_of, render_body, source_link
from ci_runner.report.markdown import environment
from ci_runner.report.parts import LIMIT, Part, assemble, headline, merged, parts_in
from tests import golden
from tests import report_samples as samples
from tests.hostile_text import active_in_markdown

OURS = r"https://github\.com/org/repo/blob/"


def compared(result: RunResult) -> Comparison:
    """Against a base in which every other failure was there already, one test was red and one is gone."""
    bases = {}
    for suite in result.suites:
        red = [case for case in suite.cases if case.outcome in (Outcome.FAILED, Outcome.ERRORED)]
        outcomes = {case.id: "passed" for case in suite.cases} | {case.id: "failed" for case in red[1::2]}
        outcomes |= {case.id: "failed" for case in suite.cases[:1] if case.outcome is Outcome.PASSED}
        name = suite.selection.suite.name
        bases[name] = Base(
            suite=name,
            commit="c0ffee" + "0" * 34,
            run_id="r",
            timestamp="2026-11-22T02:00:00Z",
            distance=2,
            outcomes={**outcomes, "gone": "passed"},
        )
    return compare(result.suites, bases)


def with_place(result: RunResult) -> RunResult:
    event = dataclasses.replace(
        result.plan.event, repository="org/repo", commit=samples.COMMIT, pull_request=7
    )
    return dataclasses.replace(result, plan=dataclasses.replace(result.plan, event=event))


@pytest.mark.parametrize("name", ["everything", "green", "no_capacity", "hung", "red"])
def test_a_comment_is_as_expected(name: str) -> None:
    result = with_place(samples.SAMPLES[name]())
    money = Money(pull_request=0.41, budget="team", spent=212.0, limit=2000.0)
    context = Context(comparison=compared(result), money=money, run_url="https://example.org/run/1")
    golden.check(f"comment-{name}.md", assemble("tests", [part_of("unit", result, context)]))


def test_the_first_line_is_enough() -> None:
    result = with_place(samples.red())
    first = assemble("k", [part_of("unit", result, Context(comparison=compared(result)))]).splitlines()[1]
    assert first.startswith("### ❌ 1 new failure · 1 still broken · ")
    alone = assemble("k", [part_of("unit", result, Context())]).splitlines()[1]
    assert alone.startswith("### ❌ 2 failed · ")


def test_a_green_comment_is_short() -> None:
    body = render_body(samples.green(), Context())
    assert len(body.splitlines()) <= 2
    assert "1,004 passed" in body


def test_what_was_not_tested_says_so_in_its_first_words() -> None:
    text = assemble("k", [part_of("tpu", samples.no_capacity(), Context())])
    assert text.splitlines()[1].startswith("### ⚠️ not tested: no TPU capacity in 3 zones")


def test_without_a_base_nothing_is_called_new() -> None:
    text = render_body(samples.red(), Context(comparison=compare(samples.red().suites, {})))
    assert "**Failed**" in text
    assert "New here" not in text
    assert "there is no complete earlier run of" in text


def test_a_failure_is_linked_at_the_exact_commit() -> None:
    result = with_place(samples.red())
    case = samples.case("t", file="tests/a b.py", line=3)
    link = source_link(case, result, "https://github.com")
    assert link == f"[`tests/a b.py:3`](https://github.com/org/repo/blob/{samples.COMMIT}/tests/a%20b.py#L3)"
    for file in ("/etc/passwd", "../../up.py"):
        assert "](" not in source_link(samples.case("t", file=file), result, "https://github.com")
    hostile = source_link(samples.case("t", file='x) ![a](//e.org "'), result, "https://github.com")
    assert active_in_markdown(hostile, allowed=OURS) == []


def test_hostile_text_is_only_text() -> None:
    result = with_place(samples.hostile())
    text = assemble("k", [part_of("unit", result, Context(comparison=compared(result)))])
    body = "\n".join(line for line in text.splitlines() if not line.startswith("<!-- ci-runner:"))
    assert active_in_markdown(body, allowed=OURS) == []
    assert text.count("<!--") == 3
    assert in_characters(text) <= LIMIT


@pytest.mark.parametrize("made", [samples.green, samples.red])
def test_coverage_is_told_by_its_note_alone_and_as_text(made: Callable[[], RunResult]) -> None:
    note = "unit: coverage 84.6 % of 13 lines; not covered: src/<b>@octocat</b>.py:9"
    result = with_place(made())
    text = render_body(dataclasses.replace(result, notes=(*result.notes, note)), Context())
    assert text.count("coverage 84.6 % of 13 lines") == 1
    assert active_in_markdown(text, allowed=OURS) == []
    assert "coverage" not in comment_values(result, Context())


def test_a_label_that_acted_can_act_again() -> None:
    result = with_place(samples.red())
    suites = tuple(
        dataclasses.replace(
            item,
            selection=dataclasses.replace(
                item.selection,
                suite=dataclasses.replace(item.selection.suite, when=When(labels=("run-unit",))),
            ),
        )
        for item in result.suites
    )
    event = dataclasses.replace(result.plan.event, label_added="run-unit")
    result = dataclasses.replace(result, suites=suites, plan=dataclasses.replace(result.plan, event=event))
    assert "remove and add the label run-unit" in render_body(result, Context())


# -- parts


def part(key: str, **values: object) -> Part:
    given: dict[str, object] = {
        "commit": "a" * 40,
        "counts": Counts(tests=3, passed=3),
        "seconds": 5.0,
        "body": f"all of **{key}**",
    }
    return Part(key=key, **{**given, **values})  # type: ignore[arg-type]


@given(
    st.lists(
        st.builds(
            part,
            st.from_regex(comment_parts.KEY, fullmatch=True),
            why=st.text("ab-&;\u200b ", max_size=10),
            new=st.none() | st.integers(0, 9),
            started=st.floats(0, 1e9),
            cost=st.floats(0, 100),
            body=st.text("ab\n*#", max_size=30).map(lambda text: "x" + text + "x"),
        ),
        min_size=1,
        max_size=6,
        unique_by=lambda item: item.key,
    )
)
def test_parts_come_back_as_they_were(given_parts: list[Part]) -> None:
    text = assemble("key", given_parts)
    assert sorted(parts_in(text), key=lambda item: item.key) == sorted(given_parts, key=lambda item: item.key)
    assert parts_in(text.replace("\n", "\r\n")) == parts_in(text)  # as GitHub gives it back


@given(st.text())
def test_any_comment_can_be_read(text: str) -> None:
    assert parts_in(text + '<!-- ci-runner:part {"key": 1} -->\nx\n<!-- ci-runner:end -->') == []


def test_many_jobs_are_one_comment_with_one_first_line() -> None:
    red = part(
        "b", counts=Counts(tests=5, passed=3, failed=2), exit_code=1, word="failed", seconds=9.0, cost=0.5
    )
    text = assemble("key", [part("a"), red, part("c")])
    lines = text.splitlines()
    assert lines[1] == "### ❌ 2 failed · 9 passed · 9.00 s · $0.50"
    titles = [line for line in lines if line.startswith("#### ")]
    assert titles == [
        "#### ❌ b: 2 failed · 3 passed · 9.00 s · $0.50",
        "#### ✅ a: 3 passed · 5.00 s",
        "#### ✅ c: 3 passed · 5.00 s",
    ]
    lost = part("d", word="not tested", why="no TPU capacity", exit_code=3, counts=Counts())
    assert headline([red, lost]).startswith("⚠️ not tested: d: no TPU capacity · ")


def test_a_newer_part_replaces_an_older_one_and_a_new_commit_replaces_all() -> None:
    old, new = part("a", started=1.0), part("a", started=2.0, body="newer")
    assert merged([old, part("b")], new) == [part("b"), new]
    assert merged([new], old) == [new]
    other = part("a", commit="b" * 40, started=3.0)
    assert merged([new, part("b")], other) == [other]
    assert merged([other], new) == [other]


def test_too_many_parts_shrink_and_green_ones_first() -> None:
    parts = [part(f"green-{n}", body="g" * 9_000) for n in range(10)]
    parts.append(part("red", exit_code=1, word="failed", body="r" * 9_000))
    text = assemble("key", parts)
    assert in_characters(text) <= LIMIT
    assert "r" * 9_000 in text
    assert "details left out for lack of room" in text
    assert in_characters(assemble("key", [part(f"p{n}") for n in range(2_000)])) <= LIMIT


def test_sections_are_shed_by_importance() -> None:
    result = with_place(samples.everything())
    context = Context(comparison=compared(result))
    whole = render_body(result, context)
    smaller = render_body(result, context, room=in_characters(whole) - 1)
    assert "Left out for lack of room: tracebacks." in smaller
    assert "New here" in smaller
    for room in (3_000, 1_000, 300, 10, 0):
        assert in_characters(render_body(result, context, room=room)) <= room


def test_a_budget_counts_as_github_does() -> None:
    assert (in_characters("a😀"), in_bytes("a😀")) == (3, 5)
    template = environment().from_string(
        "{% block a %}{{ x }}{% endblock %}{% block left_out %}-{% endblock %}"
    )
    assert fit(template, {"x": "y" * 50}, ("a",), (), 10) == "y" * 10


def test_a_key_that_could_not_stand_in_a_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="not a key"):
        part_of("a -->", samples.green(), Context())


def test_numbers_in_a_marker_end_no_marker() -> None:
    text = assemble("k", [part("a", why="x --> y < z", word="incomplete", exit_code=9)])
    (marker,) = [line for line in text.splitlines() if line.startswith("<!-- ci-runner:part")]
    numbers = json.loads(marker.removeprefix("<!-- ci-runner:part ").removesuffix(" -->"))
    assert numbers["why"] == "x --> y < z"
    assert marker.count("-->") == 1
