"""The client on a bad day: limits, failures, lost answers, wrong tokens; and how little it asks on a good one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from ci_runner.errors import AuthenticationError, CiRunnerError, ConfigurationError, GitHubError
from ci_runner.github import client as github_client
from ci_runner.github.ancestry import ancestors_on_github
from ci_runner.github.client import Absent, Client, Unacceptable, Uncertain, connect
from ci_runner.model import Counts, Event
from ci_runner.report.parts import Part, parts_in
from ci_runner.report.publish.remarks import PullRequestRemarks
from ci_runner.report.sticky import CommentGone, Mode, Publisher, TooLong
from tests.emulators.github.refusal import Refusal, secondary
from tests.emulators.github.world import Comment
from tests.github_kit import NUMBER, Hub, emulated_github

COMMENTS = "/repos/org/kpt/issues/7/comments"
GREEN = Part(key="unit", commit="a" * 40, counts=Counts(tests=1, passed=1), body="all well")
RED = Part(
    key="unit", commit="a" * 40, counts=Counts(tests=1, failed=1), exit_code=1, word="failed", body="no"
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(github_client, "WRITE_SECONDS", 0.02)
    with emulated_github() as found:
        yield found


@pytest.fixture
def client(hub: Hub) -> Client:
    return hub.client()


def remarks(hub: Hub) -> PullRequestRemarks:
    return PullRequestRemarks(hub.client(), NUMBER)


def test_an_unchanged_comment_costs_at_most_three_calls(hub: Hub) -> None:
    Publisher(remarks(hub), "k").publish(GREEN)
    hub.world.calls.clear()
    assert Publisher(remarks(hub), "k").publish(GREEN).action == "unchanged"
    assert len(hub.world.calls) <= 3, hub.calls()
    assert not list(hub.world.writes())


def test_ours_is_found_over_all_pages_and_by_its_author(hub: Hub) -> None:
    Publisher(remarks(hub), "k").publish(GREEN)
    (ours,) = hub.comments()
    hub.world.token("mallory", "mallory", app=False)
    theirs = PullRequestRemarks(hub.client(GITHUB_TOKEN="mallory"), NUMBER)
    theirs.create(ours.body)
    for number in range(120):
        hub.repository.comments[number] = Comment(number, NUMBER, "dev", f"talk {number}", 0.0, 0.0)
    assert Publisher(remarks(hub), "k").publish(RED).action == "updated"
    assert parts_in(hub.repository.comments[ours.id].body) == [RED]
    assert len(hub.comments()) == 122


def test_the_modes_that_make_a_new_comment_hide_or_remove_the_old_one(hub: Hub) -> None:
    Publisher(remarks(hub), "k").publish(GREEN)
    (first,) = hub.comments()
    Publisher(remarks(hub), "k", mode=Mode.HIDE_AND_NEW).publish(RED)
    assert first.hidden == "OUTDATED"
    Publisher(remarks(hub), "k", mode=Mode.DELETE_AND_NEW).publish(GREEN)
    assert [parts_in(each.body) for each in hub.comments()] == [[GREEN]]


def test_a_lost_answer_makes_no_second_comment(hub: Hub) -> None:
    hub.world.fail(f"POST {COMMENTS}", kind="lost")
    told = Publisher(remarks(hub), "k").publish(GREEN)
    assert told.action == "created"
    assert len(hub.comments()) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failing_server_is_asked_again(hub: Hub, status: int) -> None:
    hub.world.fail(f"GET {COMMENTS}", Refusal(status, "oops"))
    hub.world.fail(f"POST {COMMENTS}", Refusal(status, "oops"))
    assert Publisher(remarks(hub), "k").publish(GREEN).action == "created"
    assert len(hub.comments()) == 1


@pytest.mark.parametrize("verb", ["GET", "POST", "PATCH"])
def test_a_secondary_limit_is_waited_for(hub: Hub, verb: str) -> None:
    Publisher(remarks(hub), "other").publish(GREEN)
    if verb == "PATCH":
        Publisher(remarks(hub), "k").publish(RED)
    about = COMMENTS if verb != "PATCH" else "/repos/org/kpt/issues/comments"
    fault = hub.world.fail(f"{verb} {about}", secondary(1))
    assert Publisher(remarks(hub), "k").publish(GREEN).action == ("updated" if verb == "PATCH" else "created")
    assert fault.times == 0


def test_a_limit_that_lasts_an_hour_is_not_waited_for(hub: Hub, client: Client) -> None:
    token = hub.world.tokens[hub.environ["GITHUB_TOKEN"]]
    token.used = token.limit
    with pytest.raises(GitHubError, match="limit on requests") as caught:
        client.get("")
    assert "wait" in (caught.value.fix or "")


def test_a_broken_connection_is_made_again_where_that_is_safe(hub: Hub, client: Client) -> None:
    hub.world.fail("GET /repos/org/kpt", kind="reset")
    assert client.get("")["full_name"] == "org/kpt"
    hub.world.fail(f"POST {COMMENTS}", kind="reset")
    with pytest.raises(Uncertain):
        client.send("POST", f"issues/{NUMBER}/comments", {"body": "x"})
    assert hub.comments() == []


def test_an_answer_that_is_no_json_is_an_error(hub: Hub, client: Client) -> None:
    hub.world.fail("GET /repos/org/kpt", kind="garbage")
    with pytest.raises(GitHubError, match="no JSON"):
        client.get("")


def test_a_comment_that_somebody_deletes_meanwhile(hub: Hub) -> None:
    mine = remarks(hub)
    made = mine.create("hello")
    hub.repository.comments.clear()
    with pytest.raises(CommentGone):
        mine.update(made, "again")
    mine.delete(made)
    mine.hide(made)
    Publisher(mine, "k").publish(GREEN)
    hub.world.fail("PATCH /repos/org/kpt/issues/comments", meanwhile=hub.repository.comments.clear)
    assert Publisher(remarks(hub), "k").publish(RED).action == "created"
    assert [parts_in(each.body) for each in hub.comments()] == [[RED]]


def test_a_body_over_the_limit_is_said_to_be_too_long(hub: Hub) -> None:
    with pytest.raises(TooLong):
        remarks(hub).create("x" * 70_000)
    with pytest.raises(Unacceptable, match="missing_field"):
        remarks(hub).create("   ")


def test_pages_that_have_not_changed_are_not_sent_again(hub: Hub, client: Client) -> None:
    token = hub.world.tokens[hub.environ["GITHUB_TOKEN"]]
    for number in range(150):
        hub.repository.comments[number] = Comment(number, NUMBER, "dev", str(number), 0.0, 0.0)
    first = [each["body"] for each in client.pages(f"issues/{NUMBER}/comments")]
    used = token.used
    assert [each["body"] for each in client.pages(f"issues/{NUMBER}/comments")] == first
    assert (len(first), token.used) == (150, used)


@pytest.mark.parametrize(
    ("refusal", "error", "fix"),
    [
        (Refusal(403, "Resource not accessible by integration"), AuthenticationError, "pull-requests: write"),
        (Refusal(403, "Unable to create comment because issue is locked."), AuthenticationError, "unlock"),
        (Refusal(401, "Bad credentials"), AuthenticationError, "expired"),
        (Refusal(410, "Issues are disabled for this repo"), Absent, ""),
        (Refusal(404, "Not Found"), Absent, ""),
    ],
)
def test_refusals_say_what_to_do(
    hub: Hub, client: Client, refusal: Refusal, error: type[CiRunnerError], fix: str
) -> None:
    hub.world.fail(f"POST {COMMENTS}", refusal)
    with pytest.raises(error) as caught:
        client.send("POST", f"issues/{NUMBER}/comments", {"body": "x"})
    assert fix in (caught.value.fix or "")


def test_a_closed_port_is_said_to_be_one(hub: Hub) -> None:
    port = hub.server.server_address[1]
    hub.server.server_close()
    away = connect(
        {"GITHUB_API_URL": f"http://127.0.0.1:{port}", "GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "o/r"}
    )
    away.github.requester._Requester__retry = None  # type: ignore[attr-defined]
    with pytest.raises(GitHubError, match=r"cannot be reached|no answer"):
        away.get("")


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"GITHUB_TOKEN": "", "GH_TOKEN": ""}, AuthenticationError),
        ({"GITHUB_TOKEN": "two\nlines"}, AuthenticationError),
        ({"GITHUB_REPOSITORY": "../x"}, ConfigurationError),
        ({"GITHUB_API_URL": "http://example.org"}, ConfigurationError),
        ({"GITHUB_API_URL": "https://me:pw@example.org"}, ConfigurationError),
        ({"GITHUB_API_URL": "ftp://example.org"}, ConfigurationError),
    ],
)
def test_what_cannot_be_a_way_to_github_is_refused(
    values: dict[str, str], error: type[CiRunnerError]
) -> None:
    good = {"GITHUB_API_URL": "https://api.github.com", "GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "org/kpt"}
    assert connect(good).repository == "org/kpt"
    with pytest.raises(error) as caught:
        connect({**good, **values})
    assert caught.value.fix


def test_an_enterprise_server_has_its_api_elsewhere(hub: Hub) -> None:
    ghes = connect({**hub.environ, "GITHUB_API_URL": f"{hub.server.url}/api/v3"})
    assert ghes.get("")["full_name"] == "org/kpt"
    assert ghes.login() == "github-actions[bot]"
    assert ghes.github.requester.graphql_url.endswith("/api/graphql")


def test_writes_are_a_second_apart(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_client, "WRITE_SECONDS", 1.0)
    client = hub.client()
    for number in range(3):
        client.send("POST", f"issues/{NUMBER}/comments", {"body": str(number)})
    times = [call.at for call in hub.world.writes()]
    assert all(later - earlier >= 0.95 for earlier, later in itertools.pairwise(times))


def test_the_ancestors_of_a_shallow_checkout_are_asked_for(hub: Hub, client: Client) -> None:
    commits = [hub.main, *(hub.commit(f"Change {number}") for number in range(3))]
    push = Event(kind="push", commit=hub.main, branch="main")
    assert ancestors_on_github(client, push, "main") == commits[2::-1]
    head = hub.repository.objects.commit(
        hub.repository.objects.commits[hub.main].tree, (commits[1],), "Topic", 0.0
    )
    pull = Event(kind="pull_request", commit=head, pull_request=7, base_commit=hub.main)
    assert ancestors_on_github(client, pull, "main") == commits[1::-1]
    unknown = Event(kind="pull_request", commit="f" * 40, pull_request=7, base_commit=hub.main)
    assert ancestors_on_github(client, unknown, "main") == [hub.main]
    assert ancestors_on_github(client, Event(kind="push"), "main") == []
