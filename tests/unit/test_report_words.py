"""Numbers, commands, excerpts and explanations in words."""

from __future__ import annotations

import dataclasses
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner import errors
from ci_runner.model import AttemptState, Counts, Outcome, Problem, Verdict
from ci_runner.report import excerpt, explain, view, words
from tests import report_samples as samples


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0123, "12 ms"), (0.9996, "1.00 s"), (1.4, "1.40 s"), (50.34, "50.3 s"), (59.96, "1 min"),
        (372, "6 min 12 s"), (600, "10 min"), (3600, "1 h"), (7500, "2 h 5 min"), (float("nan"), "unknown time"),
        (-1, "unknown time"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_other_numbers() -> None:
    assert [words.clock(x) for x in (-1, 41.9, 723, 3723)] == ["0:00", "0:41", "12:03", "1:02:03"]
    assert [words.size(x) for x in (12, 1500, 214_000_000, 5.2e12)] == ["12 B", "1.5 kB", "214 MB", "5.2 TB"]
    assert [words.money(x) for x in (0, 0.004, 0.07, 1788.4)] == ["$0.00", "under $0.01", "$0.07", "$1,788"]
    assert words.plural(1, "test") == "1 test"
    assert words.plural(1001, "test") == "1,001 tests"
    assert words.moment(samples.START) == "2026-11-23T16:15:02Z"
    assert words.counts_text(Counts()) == "no test ran"
    assert words.suite_cost(samples.everything().suites[2]) == pytest.approx(0.6 * 292 / 3600)
    assert words.suite_cost(samples.no_capacity().suites[0]) == 0


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_quoted_word_is_one_line(text: str) -> None:
    word = words.shell_word(text)
    assert word.isprintable()
    if text.isprintable():
        assert shlex.split(word) == [text]
    else:
        assert word.startswith("$'")
        assert word.endswith("'")


def test_the_command_that_runs_a_test_again() -> None:
    plain = samples.green().suites[0].selection
    assert words.reproduce(plain, "a b::c") == "ci-runner run unit --only 'a b::c'"
    assert words.reproduce(plain, "-k") == "ci-runner run unit --only=-k"
    assert words.reproduce(plain, "a\n'\\\x07\udcff\u2028\U000e0041") == (
        "ci-runner run unit --only $'a\\x0a\\'\\\\\\x07\\xff\\u2028\\U000e0041'"
    )
    ad_hoc = dataclasses.replace(plain, suite=samples.suite("test-path", tests=("tests", "more tests")))
    assert words.reproduce(ad_hoc, "t") == "ci-runner run --test-path tests --test-path 'more tests' --only t"
    named = dataclasses.replace(plain, suite=samples.suite(configuration="a b/other.toml"))
    assert words.reproduce(named, "t") == "ci-runner run unit --config 'a b/other.toml' --only t"
    command = dataclasses.replace(plain, suite=samples.suite("go", command="go test ./..."))
    assert words.reproduce(command, "t") == "ci-runner run go"


def test_an_excerpt_is_the_failing_lines() -> None:
    text = excerpt.traceback_excerpt(samples.TRACEBACK)
    assert text.splitlines()[-6] == '> assert chosen == {"docs", "tpu"}'
    assert text.splitlines()[-1] == "tests/test_plan.py:88: AssertionError"
    assert "replace(EVENT" not in text


def test_an_excerpt_of_many_frames_is_the_last() -> None:
    first = samples.TRACEBACK.replace("chosen", "outer")
    text = excerpt.traceback_excerpt(f"{first}\n_ _ _ _ _ _ _ _ _ _ _ _\n{samples.TRACEBACK}")
    assert "outer" not in text


def test_an_excerpt_of_a_long_difference_keeps_both_ends() -> None:
    long = "> assert a == b\n" + "\n".join(f"E {i}" for i in range(200))
    lines = excerpt.traceback_excerpt(long).splitlines()
    assert lines[0] == "> assert a == b"
    assert "… 186 lines left out …" in lines
    assert lines[-1] == "E 199"


def test_an_excerpt_of_anything_else() -> None:
    assert excerpt.traceback_excerpt("a\n\nb") == "a\nb"
    other = excerpt.traceback_excerpt("\n".join(str(i) for i in range(100))).splitlines()
    assert other[:4] == ["0", "1", "2", "…"]
    assert other[-1] == "99"


def test_clip_and_tail() -> None:
    assert excerpt.clip("abc", 3) == "abc"
    assert excerpt.clip("a" * 1000, 30) == "a" * 10 + "\n… 970 characters left out …\n" + "a" * 20
    assert excerpt.tail("1\n2\n3\n\n", 2) == "2\n3"
    assert excerpt.tail("x" * 100, 2, 10) == "x" * 10


def test_the_top_of_a_stack_is_the_main_thread_without_the_framework() -> None:
    assert excerpt.stack_top(samples.STACKS) == [
        "/usr/lib/python3.11/socket.py:706 in readinto",
        "/srv/work/kpt/minitorch/collective.py:41 in receive",
        "/srv/work/tests/test_collective.py:19 in test_all_reduce_waits",
    ]
    assert excerpt.stack_top(samples.STACKS.replace("Current thread", "Thread"))[1].endswith("in receive")
    assert excerpt.stack_top("") == []
    only = 'Thread 0x1 (most recent call first):\n  File "/x/_pytest/a.py", line 1 in b\n'
    assert excerpt.stack_top(only) == ["/x/_pytest/a.py:1 in b"]


def test_the_first_word() -> None:
    found = {name: explain.headline_word(make()) for name, make in samples.SAMPLES.items() if name != "large"}
    assert found == {
        "green": "passed", "red": "failed", "hung": "incomplete", "setup_failed": "not tested", "empty": "empty",
        "no_capacity": "not tested", "everything": "incomplete", "hostile": "incomplete",
    }  # fmt: skip
    cancelled = dataclasses.replace(samples.hung(), exit_code=errors.CANCELLED)
    assert explain.headline_word(cancelled) == "cancelled"
    assert explain.verdict_sentence(cancelled) == "Cancelled; 40 tests finished before"
    (told,) = explain.explanations(cancelled)
    assert told.what == "the run was cancelled"
    preempted = dataclasses.replace(samples.hung(), exit_code=errors.PREEMPTED)
    assert explain.verdict_sentence(preempted).startswith(
        "Incomplete: the machine was taken away too often; 40 tests"
    )


def test_sentences() -> None:
    assert explain.verdict_sentence(samples.green()) == "1,004 tests passed, 1 skipped"
    assert explain.verdict_sentence(samples.red()) == "2 tests of 1,004 failed"
    assert explain.verdict_sentence(samples.empty()) == "No test ran, so nothing is known"
    assert explain.verdict_sentence(samples.no_capacity()) == "Not tested: no machine was to be had"
    assert (
        explain.verdict_sentence(samples.everything())
        == "Incomplete: 11 tests never finished, and 2 tests failed"
    )
    lying = samples.run_result(
        samples.suite_result(samples.passing(2), verdict=Verdict.INCOMPLETE, exit_code=errors.INCOMPLETE)
    )
    assert explain.verdict_sentence(lying) == "Incomplete: the results cannot be trusted"


def test_every_exit_code_that_is_not_about_tests_says_what_to_do() -> None:
    for code in set(errors.EXIT_CODES) - {errors.OK, errors.TESTS_FAILED, errors.INCOMPLETE}:
        suite = samples.suite_result(verdict=Verdict.INCOMPLETE, exit_code=code, attempts=(), leases=())
        (told,) = explain.explanations(samples.run_result(suite))
        assert told.what
        assert told.fix == explain.TODO[code]


def test_what_was_known_when_it_broke() -> None:
    killed = samples.attempt(
        "unit", state=AttemptState.KILLED, reason="ended by signal 11 (SIGSEGV)", exit_code=-11
    )
    cases = [
        samples.case("a"),
        samples.case("b", Outcome.FAILED),
        samples.case("c", Outcome.MISSING, interrupted=True),
    ]
    problem = Problem(kind="missing-tests", text="1 of 3 tests has no result")
    (told,) = explain.explanations(
        samples.run_result(samples.suite_result(cases, attempts=(killed,), problems=(problem,)))
    )
    assert told.what == "ended by signal 11 (SIGSEGV); 1 of 3 tests has no result"
    assert told.means == "2 tests finished (1 of them red) and 1 did not"
    assert told.evidence == ("running at the end: c",)


def test_what_two_say_the_one_more_exactly_is_told_once() -> None:
    short = Problem(kind="setup-failed", text="pytest is missing")
    exact = Problem(kind="setup", text="pytest is missing (/usr/bin/python3)\nfix: install it")
    other = Problem(kind="exit-code", text="exit 2 is not what the results say")
    suite = samples.suite_result(
        verdict=Verdict.INCOMPLETE, exit_code=errors.MACHINE, problems=(short, exact, other)
    )
    (told,) = explain.explanations(samples.run_result(suite))
    assert told.what == "pytest is missing (/usr/bin/python3); exit 2 is not what the results say"
    assert told.fix == "install it"


def test_an_unselected_run_is_explained() -> None:
    nothing = dataclasses.replace(samples.empty(), suites=(), counts=Counts())
    (told,) = explain.explanations(nothing)
    assert told.fix == "name a suite, or see why with: ci-runner plan --explain"
    assert explain.explanations(samples.green()) == []


def test_a_timeout_outside_of_any_test() -> None:
    late = samples.attempt("unit", state=AttemptState.TIMED_OUT, reason=None)
    (told,) = explain.explanations(
        samples.run_result(
            samples.suite_result(
                samples.passing(1), attempts=(late,), verdict=Verdict.INCOMPLETE, exit_code=9
            )
        )
    )
    assert told.what == "the time limit of 1 h was reached: no test was running at that moment"
    assert told.command == ""


def test_the_story_of_the_machines() -> None:
    lines = view.machine_lines(samples.everything())
    assert [line.end for line in lines] == [
        "given back",
        "given back",
        "taken away",
        "given back",
        "given back",
    ]
    assert lines[2].price == "$0.54/h, $0.02"
    assert lines[2].ready_seconds == 41.0
    never = samples.suite_result(attempts=(), verdict=Verdict.INCOMPLETE, exit_code=8)
    (line,) = view.machine_lines(samples.run_result(never))
    assert (line.ready_seconds, line.held_seconds) == (None, None)
    unfinished = samples.suite_result(attempts=(samples.attempt("unit", ended_at=None),))
    ((span,),) = [lane.spans for lane in view.lanes(samples.run_result(unfinished))]
    assert span.seconds == pytest.approx(49.8)


def test_the_slowest_are_those_that_matter() -> None:
    assert [case.duration_seconds for _, case in view.slowest(samples.green(), 3)] == pytest.approx(
        [1.7, 1.64, 1.58]
    )
    assert view.slowest(samples.run_result(samples.suite_result([samples.case("a")]))) == []
