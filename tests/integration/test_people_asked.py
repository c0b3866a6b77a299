"""Who may do what, as GitHub's API says it: roles, reviews over pages, heads, and who added a label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ci_runner.cli.trusting import Connecting
from ci_runner.config.settings import TrustRules
from ci_runner.github.people_asked import GitHubPeople
from ci_runner.github.trust import decide
from ci_runner.github.trust_facts import gather
from tests.emulators.github import shown
from tests.emulators.github.refusal import Refusal
from tests.github_kit import NUMBER, Hub, emulated_github, review

REVIEWED = TrustRules(forks="reviewed")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with emulated_github() as found:
        found.repository.people |= {"wendy": "write", "max": "maintain", "tom": "triage", "rita": "read"}
        yield found


@pytest.fixture
def people(hub: Hub) -> GitHubPeople:
    return GitHubPeople(hub.client())


@pytest.mark.parametrize(
    ("login", "role"),
    [
        ("admin", "admin"),
        ("max", "maintain"),
        ("wendy", "write"),
        ("tom", "triage"),
        ("rita", "read"),
        ("stranger", "read"),
    ],
)
def test_a_role_is_told_exactly(people: GitHubPeople, login: str, role: str) -> None:
    assert people.permission(login) == role


def test_a_role_of_the_organizations_own_counts_as_its_base(
    people: GitHubPeople, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [{"role_name": "releaser", "permission": "write"}, {"role_name": "releaser"}, {}]
    monkeypatch.setattr(type(people.client), "get", lambda *_args: answers.pop(0))
    assert [people.permission("x") for _ in range(3)] == ["write", "unknown", "unknown"]


def test_whoever_github_does_not_know_may_nothing(hub: Hub, people: GitHubPeople) -> None:
    hub.world.fail("GET /repos/org/kpt/collaborators", Refusal(404, "Not Found"))
    assert people.permission("../../../user") == "none"


def test_reviews_are_read_to_the_last_page(hub: Hub, people: GitHubPeople) -> None:
    for number in range(130):
        review(hub, f"s{number}", "COMMENTED")
    review(hub, "wendy")
    found = people.reviews(NUMBER)
    assert len(found) == 131
    assert (found[-1].author, found[-1].state, found[-1].commit_id) == ("wendy", "APPROVED", hub.main)


def test_the_head_is_the_one_of_now(hub: Hub, people: GitHubPeople) -> None:
    assert people.head(NUMBER) == hub.main
    pull = hub.repository.issues[NUMBER].pull
    assert pull is not None
    pull.head = hub.commit("More")
    assert people.head(NUMBER) == pull.head


def labeled(hub: Hub, what: str, name: str, login: str) -> None:
    """Let somebody add or take a label."""
    issue = hub.repository.issues[NUMBER]
    if what == "labeled":
        issue.labels.append(name)
    else:
        issue.labels.remove(name)
    hub.repository.labels.setdefault(name, "ededed")
    number = len(issue.events) + 1
    issue.events.append(
        {
            "id": number,
            "node_id": f"LE_{number}",
            "url": f"https://api.github.com/repos/org/kpt/issues/events/{number}",
            "actor": shown.user(login),
            "event": what,
            "commit_id": None,
            "commit_url": None,
            "created_at": "2026-11-23T10:00:00Z",
            "performed_via_github_app": None,
            "label": {"name": name, "color": "ededed"},
        }
    )


def test_a_labels_adder_is_the_last_who_added_it(hub: Hub, people: GitHubPeople) -> None:
    assert people.label_adder(NUMBER, "run-tpu-tests") is None
    labeled(hub, "labeled", "run-tpu-tests", "wendy")
    labeled(hub, "labeled", "docs", "rita")
    assert people.label_adder(NUMBER, "run-tpu-tests") == "wendy"
    labeled(hub, "unlabeled", "run-tpu-tests", "rita")
    assert people.label_adder(NUMBER, "run-tpu-tests") is None
    labeled(hub, "labeled", "run-tpu-tests", "tom")
    assert people.label_adder(NUMBER, "run-tpu-tests") == "tom"


def test_a_label_that_was_renamed_has_no_adder_under_either_name(hub: Hub, people: GitHubPeople) -> None:
    labeled(hub, "labeled", "docs", "rita")
    hub.repository.issues[NUMBER].labels[:] = ["run-tpu-tests"]
    assert people.label_adder(NUMBER, "run-tpu-tests") is None
    assert people.label_adder(NUMBER, "docs") is None


def payload(hub: Hub) -> dict[str, Any]:
    repository = {"full_name": "org/kpt", "id": 1, "default_branch": "main"}
    pull = {
        "number": NUMBER,
        "user": {"login": "dev"},
        "labels": [{"name": "run-tpu-tests"}],
        "head": {"ref": "topic", "sha": hub.main, "repo": {"full_name": "dev/kpt", "id": 2}},
        "base": {"ref": "main", "sha": hub.main, "repo": repository},
    }
    return {
        "action": "labeled",
        "label": {"name": "run-tpu-tests"},
        "pull_request": pull,
        "repository": repository,
        "sender": {"login": "wendy", "type": "User"},
    }


def code_of(hub: Hub, told: dict[str, Any], **environ: str) -> tuple[str, tuple[str, ...]]:
    """The decision about a fork's pull request, by way of the real API."""
    found = gather(
        "pull_request_target",
        told,
        environ={"GITHUB_RUN_ATTEMPT": "1"},
        rules=REVIEWED,
        people=Connecting({**hub.environ, **environ}),
    )
    return decide(found.facts, REVIEWED).code, found.unanswered


def test_a_fork_is_trusted_from_its_approval_to_its_next_commit(hub: Hub) -> None:
    told = payload(hub)
    assert code_of(hub, told) == ("not-approved", ())
    review(hub, "tom")
    assert code_of(hub, told) == ("approval-not-writer", ())
    review(hub, "wendy")
    assert code_of(hub, told) == ("approved", ())
    review(hub, "max", "CHANGES_REQUESTED")
    assert code_of(hub, told) == ("changes-requested", ())
    review(hub, "max")
    assert code_of(hub, told) == ("approved", ())
    pull = hub.repository.issues[NUMBER].pull
    assert pull is not None
    pull.head = hub.commit("More")
    assert code_of(hub, told) == ("head-moved", ())


def test_a_github_that_fails_refuses_and_says_why(hub: Hub) -> None:
    review(hub, "wendy")
    hub.world.fail(
        f"GET /repos/org/kpt/pulls/{NUMBER}/reviews", Refusal(403, "Resource not accessible by integration")
    )
    code, why = code_of(hub, payload(hub))
    assert code == "not-approved"
    assert [text.partition(":")[0] for text in why] == ["GitHub does not allow this"]
    code, why = code_of(hub, payload(hub), GITHUB_TOKEN="wrong")
    assert code == "permission-unknown"
    assert why
