"""Messages for chats: the verdict first, within the services' limits, and nothing foreign does anything."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_runner.checks.compare import Base, Change, Comparison, compare
from ci_runner.model import Outcome, RunResult
from ci_runner.report.budget import in_characters
from ci_runner.report.chat import (
    Alert,
    Item,
    Message,
    Section,
    Span,
    address,
    alert_message,
    cost_alert,
    is_regression,
    regression_message,
    result_message,
)
from ci_runner.report.chat_slack import escaped, slack_payload
from ci_runner.report.chat_teams import teams_payload
from ci_runner.report.comment import Context, Money
from tests import golden
from tests import report_samples as samples
from tests.chat_checks import check_slack, check_teams, runs_of, shown_by_slack, shown_by_teams


def compared(result: RunResult) -> Comparison:
    """Against a base in which every other failure was there already and one test was red."""
    bases = {}
    for suite in result.suites:
        red = [case for case in suite.cases if case.outcome in (Outcome.FAILED, Outcome.ERRORED)]
        outcomes = {case.id: "passed" for case in suite.cases} | {case.id: "failed" for case in red[1::2]}
        outcomes |= {case.id: "failed" for case in suite.cases[-1:] if case.outcome is Outcome.PASSED}
        name = suite.selection.suite.name
        bases[name] = Base(
            suite=name,
            commit="c0ffee" + "0" * 34,
            run_id="r",
            timestamp="2026-11-22T02:00:00Z",
            outcomes=outcomes,
        )
    return compare(result.suites, bases)


def context_of(result: RunResult) -> Context:
    return Context(
        comparison=compared(result),
        run_url="https://github.com/octo/kpt/actions/runs/4711",
        slower=("`test_decode[2048]` 1.38 s → 1.71 s (+24 %, 95 % interval +19…+29 %)",),
    )


def pretty(payload: dict[str, Any]) -> str:
    return json.dumps(payload, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(
    "name", ["everything", "green", "no_capacity", "hung", "red", "empty", "setup_failed"]
)
def test_a_result_is_as_expected(name: str) -> None:
    result = samples.SAMPLES[name]()
    message = result_message(result, context_of(result))
    check_slack(slack_payload(message))
    check_teams(teams_payload(message))
    golden.check(f"chat-{name}.slack.json", pretty(slack_payload(message)))
    golden.check(f"chat-{name}.teams.json", pretty(teams_payload(message)))


def test_a_regression_is_as_expected() -> None:
    result = samples.red()
    message = regression_message(result, context_of(result))
    golden.check("chat-regression.slack.json", pretty(slack_payload(message)))
    golden.check("chat-regression.teams.json", pretty(teams_payload(message)))
    assert message.title == "❌ 1 new failure and 1 slow-down"
    assert [section.name for section in message.sections] == ["new", "slower"]


def test_an_alert_is_as_expected() -> None:
    alert = Alert(
        kind="cost",
        title="kernels has spent 104 % of $250 this month",
        lines=("alice $140.00", "shared $120.00", ""),
        link="https://example.org/costs",
        urgent=True,
    )
    golden.check("chat-cost.slack.json", pretty(slack_payload(alert_message(alert))))
    golden.check("chat-cost.teams.json", pretty(teams_payload(alert_message(alert))))


@pytest.mark.parametrize(
    ("spent", "share", "urgent"),
    [
        (70.0, None, False),
        (75.0, "75 %", False),
        (77.4, "77 %", False),
        (80.0, None, False),  # the run before crossed the mark
        (91.0, "91 %", False),
        (99.9, None, False),
        (100.0, "100 %", True),
        (104.9, "105 %", True),
        (106.0, None, False),
        (None, None, False),
    ],
)
def test_the_run_that_takes_the_budget_over_a_mark_raises_one_alert(
    spent: float | None, share: str | None, urgent: bool
) -> None:
    result = dataclasses.replace(samples.green(), cost_usd=5.0)
    money = Money(budget="kernels", spent=spent, limit=100.0)
    found = cost_alert(result, Context(money=money, run_url="https://x/run"))
    if share is None:
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.urgent, found.link) == ("cost", urgent, "https://x/run")
    assert found.title == f"kernels has spent {share.replace(' ', '')} of its $100.00 for this month"
    assert found.lines == (f"${spent:.2f} so far, $5.00 of it by this run of alice",)


def test_a_budget_that_is_not_known_raises_no_alert_and_one_that_is_stands_in_the_message() -> None:
    result = dataclasses.replace(samples.green(), cost_usd=5.0)
    assert cost_alert(result, Context()) is None
    assert cost_alert(result, Context(money=Money(budget="kernels", spent=5.0, limit=0.0))) is None
    money = Money(budget="<!channel>", spent=80.0, limit=100.0, pull_request=7.0)
    payload = slack_payload(result_message(result, Context(money=money)))
    check_slack(payload)
    assert "$5.00 now, $7.00 for this pull request, &lt;!channel&gt; $80.00 of $100.00" in shown_by_slack(
        payload
    )


def test_the_first_line_is_the_verdict_and_its_first_words_say_that_nothing_was_tested() -> None:
    red = samples.red()
    assert result_message(red, Context(comparison=compared(red))).title.startswith(
        "❌ 1 new failure · 1 still broken · "
    )
    assert result_message(red, Context()).title.startswith("❌ 2 failed · ")
    green = result_message(samples.green(), Context())
    assert green.title.startswith("✅ 1,004 passed")
    assert (green.tone, [section.name for section in green.sections]) == ("good", ["suites"])
    lost = result_message(samples.no_capacity(), Context())
    assert lost.title.startswith("⚠️ not tested: no TPU capacity in 3 zones")
    assert lost.tone == "unsure"


def test_without_a_base_nothing_is_new_and_no_regression_is_claimed() -> None:
    red = samples.red()
    nothing = Context(comparison=compare(red.suites, {}))
    assert not is_regression(nothing)
    assert is_regression(Context(comparison=compared(red)))
    assert is_regression(Context(slower=("slow",)))
    (section, *_) = result_message(red, nothing).sections
    assert (section.name, section.title) == ("unsure", "Failed")


def test_a_suite_without_a_base_beside_one_with_a_base_is_no_news() -> None:
    red = samples.red()
    other = samples.suite_result([samples.case("tests/test_new.py::test_x", Outcome.FAILED)])
    selection = dataclasses.replace(other.selection, suite=samples.suite("other"))
    result = samples.run_result(*red.suites, dataclasses.replace(other, selection=selection))
    bases = dict(compared(red).bases or {})
    context = Context(comparison=compare(result.suites, bases))
    titles = {section.name: section.title for section in result_message(result, context).sections}
    assert titles["new"] == "New here (passed at c0ffee0)"
    assert titles["unsure"] == "Failed (there is no earlier run to compare with)"
    assert "unsure" not in [section.name for section in regression_message(result, context).sections]


def test_a_failure_is_linked_at_the_commit_and_can_be_repeated_by_copying() -> None:
    result = samples.red()
    message = result_message(result, context_of(result))
    command = "ci-runner run unit --only tests/test_plan.py::test_label_added_later"
    assert f"`{command}`" in shown_by_slack(slack_payload(message))
    assert f"\u2003again: {command}" in shown_by_teams(teams_payload(message)).splitlines()
    url = f"https://github.com/octo/kpt/blob/{samples.COMMIT}/tests/test_plan.py#L88"
    assert f"<{url}|tests/test_plan.py:88>" in shown_by_slack(slack_payload(message))
    assert url in [
        run["selectAction"]["url"] for run in runs_of(teams_payload(message)) if "selectAction" in run
    ]


def test_a_flaky_test_that_is_new_says_so_and_a_command_that_is_too_long_is_not_cut() -> None:
    result = samples.red()
    red = [case.id for case in result.suites[0].cases[:2]]
    base = compared(result)
    changes = tuple(Change(selection="unit", suite="unit", test=test, known_flaky=True) for test in red)
    shown = shown_by_teams(
        teams_payload(result_message(result, Context(comparison=dataclasses.replace(base, new=changes))))
    )
    assert "known to be flaky" in shown
    long = samples.run_result(samples.suite_result([samples.case("t" * 900, Outcome.FAILED)]))
    assert "again:" not in shown_by_teams(teams_payload(result_message(long, Context())))


def test_hostile_text_is_text() -> None:
    result = samples.hostile()
    server = "https://github.com"
    for context in (
        Context(server=server),
        Context(
            comparison=compared(result), slower=samples.HOSTILE, server=server, run_url="javascript:alert(1)"
        ),
    ):
        for message in (result_message(result, context), regression_message(result, context)):
            check_slack(slack_payload(message))
            check_teams(teams_payload(message))


@pytest.mark.parametrize("text", samples.HOSTILE)
def test_hostile_alerts_are_text(text: str) -> None:
    alert = Alert(kind=text, title=text, lines=(text, text), link=text)
    check_slack(slack_payload(alert_message(alert)))
    check_teams(teams_payload(alert_message(alert)))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<@U123> & co", "&lt;@\u200bU123&gt; &amp; co"),
        ("@here", "@\u200bhere"),
        ("<https://evil.example|click>", "&lt;https:\u200b//evil.example|click&gt;"),
        ("*bold* _it_ ~no~ `code` a_b", "∗bold∗ ＿it＿ ∼no∼ ˋcodeˋ a_b"),
        (":tada: 12:03", ":\u200btada: 12:03"),
        ("&lt;!here&gt;", "&amp;lt;!here&amp;gt;"),
    ],
)
def test_what_slack_reads_as_a_call_is_text(text: str, shown: str) -> None:
    payload = slack_payload(alert_message(Alert(kind="cost", title="t", lines=(text,))))
    assert payload["blocks"][1]["text"]["text"] == f"• {shown}"


def test_teams_shows_markdown_as_it_is_and_reads_no_date() -> None:
    text = "[click](https://evil.example) **b** {{DATE(2026-01-01T00:00:00Z, LONG)}}"
    payload = teams_payload(alert_message(Alert(kind="booking", title="t", lines=(text,))))
    assert shown_by_teams(payload).splitlines()[1] == "• " + text.replace("{{", "{\u200b{")


@pytest.mark.parametrize(
    ("url", "usable"),
    [
        ("https://github.com/a/b/actions/runs/1", True),
        ("http://localhost:8080/x?a=b&c=d#e", True),
        ("javascript:alert(1)", False),
        ("https://x/a b", False),
        ("https://x/a|b", False),
        ("https://x/a>b", False),
        ("https://x/\n", False),
        ('https://x/"', False),
        ("ftp://x/", False),
        ("", False),
        (None, False),
        ("https://x/" + "a" * 5000, False),
    ],
)
def test_only_web_addresses_are_linked(url: str | None, usable: bool) -> None:
    assert bool(address(url)) is usable


def test_what_has_no_room_is_left_out_from_the_end_of_importance_and_named() -> None:
    items: tuple[Item, ...] = (((Span("y" * 1_500),),),) * 10
    names = ("explanations", "new", "slower", "still", "fixed", "suites", "missing", "flaky", "notes")
    sections = tuple(Section(name=name, title=name, items=items) for name in names)
    message = Message(
        kind="result", tone="bad", title="title", sections=sections, link=("Open", "https://x/y")
    )
    teams, slack = teams_payload(message), slack_payload(message)
    check_teams(teams)
    check_slack(slack)
    assert "left out for lack of room: flaky tests, fixed tests, missing tests" in shown_by_teams(teams)
    # Slack has room for the first lines of each
    assert shown_by_slack(slack).count("… and 9 more") == 9
    brief = slack_payload(message, brief=True)
    assert [block["type"] for block in brief["blocks"]] == ["header", "context"]
    assert "failures" in brief["blocks"][1]["elements"][0]["text"]
    assert len(runs_of(teams_payload(message, brief=True))) == 2


def test_many_failures_are_counted_and_not_listed() -> None:
    result = samples.large(many=2_000, failing=50)
    message = result_message(result, Context())
    for shown in (shown_by_slack(slack_payload(message)), shown_by_teams(teams_payload(message))):
        (more,) = re.findall(r"… and (\d+) more", shown)
        assert shown.count("again: ") + int(more) == 50
        assert int(more) < 45


TEXTS = st.text(max_size=120) | st.sampled_from(samples.HOSTILE).map(lambda text: text * 40)
SPANS = st.builds(
    Span, TEXTS, code=st.booleans(), url=st.sampled_from(["", "https://x/?a=1&b=2", "javascript:x"])
)
LINES = st.lists(SPANS, max_size=5).map(tuple)


@settings(deadline=None)
@given(
    text=st.text(st.characters(), max_size=60) | st.sampled_from(["&" * 40, "<" * 31, "😀" * 40]),
    limit=st.integers(0, 80),
)
def test_a_cut_keeps_the_limit_and_entities_whole(text: str, limit: int) -> None:
    made = escaped(text, limit)
    assert in_characters(made) <= limit
    assert re.search(r"&(?!(?:amp|lt|gt);)", made) is None
    assert "<" not in made


@settings(deadline=None)
@given(
    title=TEXTS,
    lines=st.lists(TEXTS, max_size=60),
    kind=st.sampled_from(["cost", "booking", "other"]),
    link=st.sampled_from(["", "https://x/y", "javascript:x"]),
)
def test_alerts_of_any_size_fit(title: str, lines: list[str], kind: str, link: str) -> None:
    message = alert_message(Alert(kind=kind, title=title, lines=tuple(lines), link=link))
    check_slack(slack_payload(message))
    check_teams(teams_payload(message))


@settings(deadline=None)
@given(
    sections=st.lists(
        st.builds(
            Section,
            name=st.sampled_from(["new", "still", "flaky", "unknown"]),
            title=st.just("Title"),
            items=st.lists(
                st.lists(
                    LINES.map(
                        lambda line: tuple(dataclasses.replace(span, text=clean(span.text)) for span in line)
                    ),
                    max_size=2,
                ).map(tuple),
                max_size=30,
            ).map(tuple),
            more=st.integers(0, 10**6),
        ),
        max_size=4,
    )
)
def test_messages_of_any_size_fit_slack(sections: list[Section]) -> None:
    message = Message(kind="result", tone="bad", title="title", sections=tuple(sections))
    check_slack(slack_payload(message))


def clean(text: str) -> str:
    """As every text of a message is made: one line."""
    from ci_runner.github.commands import one_line

    return one_line(text)


def test_two_pieces_that_are_harmless_alone_make_no_mention_together() -> None:
    for before, after in (
        ("@", "here"),
        ("see www", ".example.org"),
        ("https:", "//example.org"),
        ("a:/", "/b"),
    ):
        line = (Span(before), Span(after))
        check_slack(
            slack_payload(
                Message(
                    kind="result",
                    tone="bad",
                    title="t",
                    sections=(Section(name="new", title="", items=((line,),)),),
                )
            )
        )
