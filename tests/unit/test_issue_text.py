"""The issue of a failure as text: what it remembers, what it says, what it sheds, and that nothing foreign acts in it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.checks.tracking import FLOOD, INFRASTRUCTURE, Step, Tracked, seen, short
from ci_runner.model import Outcome
from ci_runner.report.budget import in_characters
from ci_runner.report.issue import Suspect, comment_of, issue_of, tracked_in
from tests import golden
from tests import report_samples as samples
from tests.hostile_text import active_in_markdown
from tests.report_samples import HOSTILE

OURS = r"https://github\.com/org/kpt/(commit/[0-9a-f]{40}|actions/runs/[0-9]+)$"
RUN = "https://github.com/org/kpt/actions/runs/"
TRACKED = Tracked(
    suite="unit",
    fingerprint="0123456789abcdef",
    test="tests/test_a.py::test_b[1]",
    message="AssertionError: assert 1 == 2",
    first_bad="a" * 40,
    last_bad="b" * 40,
    last_good="c" * 40,
    runs=(f"{RUN}12", f"{RUN}11"),
    platforms=("tpu", "unit"),
    green={"tpu": 1},
    count=2,
)
SUSPECTS = [Suspect(sha=f"{number:040x}", title=f"Change {number}", author="dev") for number in range(3)]


def step(**values: object) -> Step:
    return Step(do="update", tracked=dataclasses.replace(TRACKED, **values))  # type: ignore[arg-type]


def made(changed: Step, suspects: list[Suspect] | None = None) -> str:
    return issue_of(changed, repository="org/kpt", suspects=suspects or []).body


def test_an_issue_is_as_expected() -> None:
    text = issue_of(step(), repository="org/kpt", suspects=SUSPECTS)
    golden.check("issue.md", f"{text.title}\n{', '.join(text.labels)}\n\n{text.body}")
    assert tracked_in(text.body) == TRACKED


def test_machines_have_issues_of_their_own_and_no_suspects_label() -> None:
    text = issue_of(step(suite=INFRASTRUCTURE, test="tpu: no capacity"), repository="org/kpt")
    assert text.labels == ("ci-failure", "ci-infrastructure")
    assert text.title == "machines: tpu: no capacity"
    assert "`tpu: no capacity` stands in the way" in text.body
    assert "ci-runner doctor" in text.body


def test_a_flood_lists_what_it_stands_for() -> None:
    others = tuple(dataclasses.replace(TRACKED, test=f"test_{number}") for number in range(30))
    flood = dataclasses.replace(step(fingerprint=FLOOD, test="30 tests"), others=others)
    text = issue_of(flood, repository="org/kpt")
    assert text.title == "unit: 30 tests began to fail together"
    assert text.body.count("- `test_") == 20
    assert "… and 10 more" in text.body


@pytest.mark.parametrize(
    ("said", "words"),
    [("again", "Still red at"), ("closed", "Closed by the rule"), ("reopened", "Red again at")],
)
def test_each_comment_names_commit_and_run(said: str, words: str) -> None:
    text = comment_of(dataclasses.replace(step(), comment=said), repository="org/kpt")
    assert words in text
    assert f"[run 12]({RUN}12)" in text


@pytest.mark.parametrize("foreign", HOSTILE)
def test_hostile_text_is_only_text(foreign: str) -> None:
    hostile = step(
        test=foreign,
        message=foreign,
        suite=foreign or "s",
        runs=(foreign,),
        platforms=(foreign,),
        green={foreign: 1},
    )
    hostile = dataclasses.replace(
        hostile, others=(dataclasses.replace(TRACKED, test=foreign, message=foreign),)
    )
    text = issue_of(
        hostile, repository="org/kpt", suspects=[Suspect(sha="d" * 40, title=foreign, author=foreign)]
    )
    body = text.body.partition("-->")[2]
    assert active_in_markdown(body.replace("<sub>", "").replace("</sub>", ""), allowed=OURS) == []
    assert text.body.count("<!--") == 1
    assert tracked_in(text.body) is not None
    assert "\n" not in text.title
    assert "@o" not in text.title
    for said in ("again", "closed", "reopened"):
        comment = comment_of(dataclasses.replace(hostile, comment=said), repository="org/kpt")
        assert active_in_markdown(comment, allowed=OURS) == []


def test_what_is_too_long_sheds_sections_and_never_the_mark() -> None:
    others = tuple(dataclasses.replace(TRACKED, test="t" * 500, message="m" * 300) for _ in range(20))
    long = dataclasses.replace(step(), others=others)
    assert in_characters(made(long, SUSPECTS)) > 5_000
    cut = issue_of(long, repository="org/kpt", suspects=SUSPECTS, room=2_000).body
    assert in_characters(cut) <= 2_000
    assert "Left out for lack of room: runs, suspects, the list of tests" in cut
    assert tracked_in(cut) == TRACKED


def test_a_name_without_end_is_remembered_by_its_beginning() -> None:
    result = samples.run_result(
        samples.suite_result([samples.case("t" * 100_000, Outcome.FAILED), samples.case("u" * 100_000)])
    )
    run = seen(result, run="r", at=0.0)
    ((_, tracked),) = run.failing.items()
    assert len(tracked.test) == 500
    assert tracked.test != short("t" * 100_001)
    assert run.passed["unit"] == {short("u" * 100_000)}
    assert in_characters(made(Step(do="open", tracked=tracked))) < 5_000


@given(st.text(max_size=400))
def test_any_body_can_be_read(text: str) -> None:
    assert tracked_in(text) is None or tracked_in(text) is not None
    assert tracked_in(f"<!-- ci-runner:issue {text} -->") is None or "suite" in text


@given(
    suite=st.text(min_size=1, max_size=30),
    test=st.text(max_size=60),
    message=st.text(max_size=60),
    runs=st.lists(st.text(max_size=20), max_size=3),
)
def test_what_is_remembered_comes_back(suite: str, test: str, message: str, runs: list[str]) -> None:
    changed = step(suite=suite, test=test, message=message, runs=tuple(runs))
    assert tracked_in(made(changed)) == changed.tracked
