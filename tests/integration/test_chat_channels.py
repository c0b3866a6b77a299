"""Channels told over a real connection: what arrives, what is held back, and that no failure there fails a run."""

from __future__ import annotations

import dataclasses
import json
import time
from argparse import Namespace
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import time as clock
from pathlib import Path

import pytest

from ci_runner.cli.chatting import Unsent, alert, chat
from ci_runner.config.settings import Notify, Settings
from ci_runner.errors import ConfigurationError
from ci_runner.model import Event, Lane, RunResult
from ci_runner.report.chat import Alert
from ci_runner.report.comment import Context, Money
from ci_runner.report.publish.chat_send import deliver, exchange
from tests import report_samples as samples
from tests.projects import Project, make_project
from tests.webhook_kit import PATH, Act, Hook, webhook

ALWAYS = ((clock(0), clock(0)),)
COST = Alert(kind="cost", title="kernels has spent 104 %", lines=("alice $140.00",), urgent=True)
UNIT = '[suites.unit]\ntests = ["tests"]\n'
CHANNELS = """
[notify.team]
kind = "slack"
url-env = "TEAM_HOOK"
events = ["failure", "success"]

[notify.office]
kind = "teams"
url-env = "OFFICE_HOOK"
"""


def settings_of(root: Path, *channels: Notify) -> Settings:
    return Settings(root=root, notify={channel.name: channel for channel in channels})


def channel(**values: object) -> Notify:
    plain = Notify(name="team", kind="slack", url_env="HOOK", events=("failure", "cost"))
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


def tell(
    root: Path, *channels: Notify, result: RunResult | None = None, dry_run: bool = False, **environ: str
) -> str:
    """Tell the channels of Slack about a run."""
    arguments = Namespace(dry_run=dry_run)
    return chat("slack", result or samples.red(), Context(), settings_of(root, *channels), arguments, environ)


def is_clean(text: str, hook: Hook) -> bool:
    """Whether nothing of the address is in a text."""
    return "SECRET" not in text and "verysecret" not in text and hook.url not in text


# -- the connection


def test_a_message_arrives_as_json() -> None:
    with webhook() as hook:
        assert deliver(hook.url, ['{"text": "é ✅"}'.encode()]) == ""
    assert hook.payloads == [{"text": "é ✅"}]
    assert hook.types == ["application/json; charset=utf-8"]


def test_retry_after_is_respected_over_the_wire() -> None:
    waits: list[float] = []
    busy = Act(status=429, body=b"rate_limited", headers={"Retry-After": "3"})
    with webhook(busy, Act(status=502, body=b"<html>")) as hook:
        assert deliver(hook.url, [b"{}"], pause=waits.append) == ""
    assert waits == [3.0, 2.0]
    assert len(hook.bodies) == 3


def test_a_reset_connection_may_have_delivered_and_is_not_repeated() -> None:
    with webhook(Act(how="reset")) as hook:
        told = deliver(hook.url, [b"{}"])
    assert told == "the connection broke before an answer came, so it may have arrived"
    assert len(hook.bodies) == 1


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_a_slow_service_costs_a_bounded_time(how: str) -> None:
    with webhook(Act(how=how)) as hook:
        start = time.monotonic()
        answer = exchange(hook.url, b"{}", seconds=0.6)
        took = time.monotonic() - start
    assert "no answer came within 0.6 s" in answer.failure
    assert took < 5


def test_a_redirect_is_not_followed() -> None:
    with webhook() as other, webhook(Act(status=302, body=b"", headers={"Location": other.url})) as hook:
        assert deliver(hook.url, [b"{}"]) == "the answer was 302 (redirects are not followed)"
        assert other.bodies == []


def test_nobody_at_the_address_is_tried_again_and_told() -> None:
    with webhook() as hook:
        url = hook.url
    waits: list[float] = []
    told = deliver(url, [b"{}"], pause=waits.append)
    assert told == "its host refuses connections, 4 times"
    assert waits == [1.0, 2.0, 4.0]


def test_the_proxy_of_the_environment_does_not_see_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with webhook() as hook:
        assert deliver(hook.url, [b"{}"]) == ""


def test_what_is_too_large_for_the_service_arrives_shorter(tmp_path: Path) -> None:
    with webhook(Act(status=400, body=b"invalid_blocks")) as hook:
        assert tell(tmp_path, channel(), HOOK=hook.url) == "slack: team: sent"
    long, short = hook.payloads
    assert len(short["blocks"]) < len(long["blocks"])
    assert short["blocks"][0] == long["blocks"][0]


# -- what is sent, and what is held back


def test_every_channel_of_the_kind_hears_of_it_and_only_of_what_it_wants(tmp_path: Path) -> None:
    with webhook() as hook:
        told = tell(
            tmp_path,
            channel(),
            channel(name="green", events=("success",)),
            channel(name="main", branches=("main",)),
            channel(name="office", kind="teams"),
            channel(name="unset", url_env="NOT_SET"),
            HOOK=hook.url,
        )
    assert told.splitlines() == [
        "slack: team: sent",
        "slack: green: not sent, since it is told of success only",
        "slack: main: not sent, since it is not told of this branch",
        "slack: unset: not sent, since NOT_SET is not set",
    ]
    (payload,) = hook.payloads
    assert payload["text"].startswith("❌ 2 failed")


def test_a_fork_that_calls_its_branch_main_is_not_meant(tmp_path: Path) -> None:
    red = samples.red()
    event = Event(kind="workflow_run", branch="main", lane=Lane.FORK)
    fork = dataclasses.replace(red, plan=dataclasses.replace(red.plan, event=event))
    with webhook() as hook:
        assert "not told of this branch" in tell(
            tmp_path, channel(branches=("main",)), result=fork, HOOK=hook.url
        )
    assert hook.bodies == []


def test_in_quiet_hours_nothing_is_sent_but_what_passes(tmp_path: Path) -> None:
    quiet = channel(quiet_hours=ALWAYS, quiet_passes=("urgent",))
    with webhook() as hook:
        environ = {"HOOK": hook.url}
        told = tell(tmp_path, quiet, HOOK=hook.url)
        assert told == "slack: team: not sent, since these are its quiet hours (00:00-24:00 UTC)"
        plain = dataclasses.replace(COST, urgent=False)
        assert "quiet hours" in alert(plain, settings_of(tmp_path, quiet), environ)[0]
        assert hook.bodies == []
        assert alert(COST, settings_of(tmp_path, quiet), environ) == ["slack: team: sent"]
    assert hook.payloads[0]["text"] == "⚠️ kernels has spent 104 %"


def test_an_alert_goes_to_the_channels_that_want_it_and_its_failure_is_a_line(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        channel(),
        channel(name="office", kind="teams", url_env="OFFICE"),
        channel(name="booking", events=("booking",)),
    )
    with webhook() as hook, webhook(Act(status=404, body=b"no_service verysecrettoken")) as gone:
        lines = alert(COST, settings, {"HOOK": gone.url, "OFFICE": hook.url})
    assert lines == [
        "teams: office: sent",
        "warning: a chat was not told: team: the answer was 404: no_service ***",
    ]
    card = hook.payloads[0]["attachments"][0]["content"]
    assert card["body"][0]["inlines"][0]["color"] == "Attention"


def test_the_run_that_spends_the_budget_raises_an_alert_beside_its_result(tmp_path: Path) -> None:
    result = dataclasses.replace(samples.red(), cost_usd=3.0)
    context = Context(money=Money(budget="kernels", spent=101.0, limit=100.0))
    settings = settings_of(tmp_path, channel(), channel(name="money", events=("cost",)))
    with webhook() as hook:
        told = chat("slack", result, context, settings, Namespace(dry_run=False), {"HOOK": hook.url})
    assert told.splitlines() == [
        "slack: team: sent",
        "slack: team: sent",
        "slack: money: sent",
        "slack: money: not sent, since it is told of cost only",
    ]
    assert [payload["text"][:20] for payload in hook.payloads] == [
        "⚠️ kernels has spent",
        "❌ 2 failed · 1,001 p",
        "⚠️ kernels has spent",
    ]


def test_a_limit_holds_over_processes_and_what_is_over_it_is_said(tmp_path: Path) -> None:
    some = channel(at_most=(3, 86_400))
    with webhook() as hook, ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: tell(tmp_path, some, HOOK=hook.url), range(8)))
    assert sorted(told) == [
        *["slack: team: not sent, since 3 messages were sent in this day already"] * 5,
        *["slack: team: sent"] * 3,
    ]
    assert len(hook.bodies) == 3
    assert len(list((tmp_path / ".ci-runner/results/notify/team").rglob("[0-9]"))) == 3


def test_a_history_that_cannot_be_used_silences_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    settings = dataclasses.replace(
        settings_of(tmp_path, channel(at_most=(3, 3_600))), stores={"history": "file"}
    )
    with webhook() as hook:
        (line,) = alert(COST, settings, {"HOOK": hook.url})
        wrong = dataclasses.replace(settings, stores={"history": "ftp://x"})
        (other,) = alert(COST, wrong, {"HOOK": hook.url})
    assert line.startswith("slack: team: sent, without counting it: the history cannot be used: ")
    assert 'no store is known for "ftp://"' in other
    assert len(hook.bodies) == 2


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://hooks.slack.com/verysecrettoken", "team: HOOK holds an http:// address, which everybody"),
        ("verysecrettoken", "team: HOOK holds no address that begins with https://"),
    ],
)
def test_an_address_that_would_give_the_secret_away_is_not_used(
    address: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(Unsent) as caught:
        tell(tmp_path, channel(), channel(name="other", url_env="NOT_SET"), HOOK=address)
    assert caught.value.what.startswith(told)
    assert caught.value.what.endswith("slack: other: not sent, since NOT_SET is not set")
    assert "verysecret" not in caught.value.what


def test_a_publisher_without_a_channel_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no channel of Slack") as caught:
        tell(tmp_path, channel(kind="teams"))
    assert 'kind = "slack"' in str(caught.value.fix)


def test_the_address_is_masked_in_a_job_and_printed_nowhere_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with webhook() as hook:
        assert tell(tmp_path, channel(), HOOK=hook.url) == "slack: team: sent"
        assert capfd.readouterr() == ("", "")
        tell(tmp_path, channel(), HOOK=f"{hook.url}\n", GITHUB_ACTIONS="true")
    assert capfd.readouterr() == ("", f"::add-mask::{hook.url}\n")


def test_a_dry_run_shows_exactly_what_would_be_sent(tmp_path: Path) -> None:
    quiet = channel(quiet_hours=ALWAYS)
    with webhook() as hook:
        told = tell(tmp_path, quiet, dry_run=True, HOOK=hook.url)
        assert hook.bodies == []
        tell(tmp_path, channel(), HOOK=hook.url)
    first, _, shown = told.partition("\n")
    held = "held back now, since these are its quiet hours (00:00-24:00 UTC)"
    assert first == f"slack: team: would post, to the address in HOOK; {held}:"
    assert json.loads(shown) == hook.payloads[0]
    assert is_clean(told, hook)


# -- the command


def report(project: Project, environ: Mapping[str, str], *words: str) -> tuple[int, str, str]:
    words = ("--results", str(project.last_run()), "--publish", "slack,teams", *words)
    done = project.ci("report", *words, cwd=None, **environ)
    return done.code, done.out, done.err


def test_the_exit_code_is_the_tests_whatever_the_channels_do(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, {"tests/test_a.py": "def test_a():\n    pass\n"}, configuration=UNIT + CHANNELS
    )
    assert project.ci("run").code == 0
    with webhook() as slack, webhook() as teams:
        code, out, err = report(project, {"TEAM_HOOK": slack.url, "OFFICE_HOOK": teams.url})
        assert (code, err) == (0, "")
        assert "slack: team: sent" in out
        assert "teams: office: not sent, since it is told of failure, regression only" in out
        assert slack.payloads[0]["text"].startswith("✅ 1 passed")
        slack.acts = [Act(status=403, body=b"invalid_token")]
        code, out, err = report(
            project, {"TEAM_HOOK": slack.url, "GITHUB_ACTIONS": "true"}, "--format", "json"
        )
    assert code == 0
    assert json.loads(out)["not_published"] == ["slack"]
    assert "warning: slack was not published: team: the answer was 403: invalid_token" in err
    assert err.count(PATH) == err.count(f"::add-mask::{slack.url}") == 1
    assert PATH not in out
