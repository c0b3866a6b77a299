"""From a webhook's payload to the facts of the trust decision; and how little is asked for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci_runner.config.settings import TrustRules
from ci_runner.errors import EventError
from ci_runner.github.people import Permission, Person, Review
from ci_runner.github.trust import TrustFacts, decide
from ci_runner.github.trust_facts import MOST_PEOPLE, Gathered, gather
from ci_runner.github.trust_words import ACTIONS
from tests.trust_kit import CASES, COMMITS, Case, FakePeople, environ_of, payload_of, people_of

REVIEWED = TrustRules(forks="reviewed")
HEAD, LATER = COMMITS["head"], COMMITS["later"]
OCTOKIT = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "events" / "octokit" / "payloads.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
# What no payload can say: a label's adder who is not its event's sender, and heads that are no commits.
OTHERWISE: dict[str, str | type[EventError]] = {
    "the event has no head": EventError,
    "the head is a branch's name and no commit": EventError,
    "a label was added by a triager, though a writer is said to have caused the event": "same-repository",
    "a label was added by a bot": "same-repository",
    "nobody is known to have added the label": "same-repository",
    "the event names no label": EventError,
    "no run": EventError,
}


def gathered(facts: TrustFacts, rules: TrustRules, people: FakePeople | None = None) -> Gathered:
    """The facts again, by way of a payload, a job's variables and a GitHub that say them."""
    return gather(
        facts.kind,
        payload_of(facts),
        environ=environ_of(facts),
        rules=rules,
        people=people or people_of(facts),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_every_row_of_the_table_by_way_of_a_payload(case: Case) -> None:
    wanted = OTHERWISE.get(case.name, case.code)
    if not isinstance(wanted, str):
        with pytest.raises(wanted):
            gathered(case.facts, case.rules)
        return
    found = gathered(case.facts, case.rules)
    assert decide(found.facts, case.rules).code == wanted


@pytest.mark.parametrize("example", OCTOKIT, ids=[item["source"] for item in OCTOKIT])
def test_what_people_with_write_access_do_in_real_payloads(example: Any) -> None:
    name, payload = example["name"], example["payload"]
    login = payload["sender"]["login"]
    environ = {"GITHUB_RUN_ATTEMPT": "1"}

    def said(people: FakePeople | None) -> str:
        found = gather(name, payload, environ=environ, rules=TrustRules(), people=people)
        assert found.facts.repository == payload["repository"]["full_name"]
        return decide(found.facts, TrustRules()).code

    by_writer, by_reader, by_nobody = said(FakePeople(**{login: "write"})), said(FakePeople()), said(None)
    if name == "pull_request":
        runs = payload["action"] in ACTIONS
        pushed = payload["action"] == "synchronize"
        assert by_writer == ("same-repository" if runs else "action")
        assert by_reader == ("same-repository" if pushed else "actor-not-writer" if runs else "action")
        assert by_nobody == ("same-repository" if pushed else "permission-unknown" if runs else "action")
    elif name == "workflow_run":
        # the example of a manual run is of a repository other than its head's, as a fork's would be
        own = payload["workflow_run"]["head_repository"]["full_name"] == payload["repository"]["full_name"]
        done = "workflow-run" if own else "pull-request-unknown"
        assert by_writer == by_reader == by_nobody == (done if payload["action"] == "completed" else "action")
    else:
        codes = {"push": "pushed", "merge_group": "queued"}
        assert by_writer == by_reader == by_nobody == codes.get(name, "dispatched")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("a person pushes a branch", []),
        ("the schedule", []),
        ("a person dispatches", []),
        ("pull_request: a person pushes to a branch of this repository", []),
        ("pull_request: a writer adds a label", ["permission wendy"]),
        ("pull_request of a fork: forks are off", []),
        ("a writer comments, forks are off", []),
        ("the run of a push ended", []),
        ("the run of a writer's pull request ended", ["permission wendy"]),
        ("the run of a fork ended, and its artifact claims an approved pull request", []),
        (
            "pull_request of a fork: a writer has approved exactly the head",
            ["permission wendy", "head 7", "reviews 7"],
        ),
        (
            "an old run of a fork, run again by a writer",
            ["permission max", "permission wendy", "label 7 run-tpu-tests", "head 7", "reviews 7"],
        ),
    ],
)
def test_only_what_can_change_the_decision_is_asked(name: str, asked: list[str]) -> None:
    case = next(case for case in CASES if case.name == name)
    people = people_of(case.facts)
    gathered(case.facts, case.rules, people)
    assert people.asked == asked


def fork(**values: Any) -> dict[str, Any]:
    """The payload of a label that a writer adds to the pull request of a fork."""
    case = next(
        case
        for case in CASES
        if case.name == "pull_request_target of a fork: a writer has approved exactly the head"
    )
    return {**payload_of(case.facts), **values}


def approved_people() -> FakePeople:
    people = FakePeople(wendy="write", mallory="read")
    people.pulls[7] = (
        HEAD,
        [Review(author="wendy", state="APPROVED", commit_id=HEAD, submitted_at="2026-11-23T10:00:00Z")],
    )
    return people


def code_of(payload: dict[str, Any], people: FakePeople | None, **environ: str) -> str:
    """What comes of a fork's payload where forks may be reviewed."""
    found = gather(
        "pull_request_target",
        payload,
        environ={"GITHUB_RUN_ATTEMPT": "1", **environ},
        rules=REVIEWED,
        people=people,
    )
    return decide(found.facts, REVIEWED).code


def test_the_right_pull_request_is_asked_about() -> None:
    assert code_of(fork(), approved_people()) == "approved"
    people = approved_people()
    people.pulls[8] = people.pulls.pop(7)
    assert code_of(fork(), people) == "head-unknown"
    # a number beside the pull request's own, such as an attacker's input, is not looked at
    assert code_of(fork(number=8), people) == "head-unknown"


@pytest.mark.parametrize(
    "forged",
    [
        {"client_payload": {"permission": "admin", "lane": "A", "approved": True, "number": 8}},
        {"inputs": {"trusted": "true", "commit": HEAD}},
        {"artifact": {"pull_request": 8, "head_sha": HEAD, "approved_by": "wendy"}},
        {"trust": {"allowed": True, "lane": "A", "code": "pushed", "reason": ""}},
        {"permission": "admin", "author_association": "OWNER", "reviews": [{"state": "APPROVED"}]},
    ],
)
def test_what_else_a_payload_claims_decides_nothing(forged: dict[str, Any]) -> None:
    nobody = FakePeople(wendy="write")
    nobody.pulls[7] = HEAD, []
    assert code_of(fork(**forged), nobody) == "not-approved"
    payload = fork(**forged)
    payload["pull_request"] |= {"author_association": "OWNER", "mergeable_state": "clean", "review": forged}
    assert code_of(payload, nobody) == "not-approved"


def test_a_fork_that_claims_the_repositorys_name_is_a_fork() -> None:
    payload = fork()
    payload["pull_request"]["head"]["repo"] = {"full_name": "octo/tests", "id": 666}
    people = FakePeople(wendy="write")
    people.pulls[7] = HEAD, []
    assert code_of(payload, people) == "fork-deleted"


def test_github_that_does_not_answer_refuses_and_says_so_once() -> None:
    people = approved_people()
    people.silent = True
    found = gather(
        "pull_request_target", fork(), environ={"GITHUB_RUN_ATTEMPT": "1"}, rules=REVIEWED, people=people
    )
    assert found.unanswered == ("GitHub cannot be reached",)
    assert found.facts.reviews == ()
    assert decide(found.facts, REVIEWED).code == "permission-unknown"
    assert code_of(fork(), None) == "permission-unknown"


def test_a_crowd_of_reviewers_costs_a_bounded_number_of_questions() -> None:
    people = approved_people()
    crowd = [
        Review(
            author=f"s{number}",
            state="CHANGES_REQUESTED",
            commit_id=HEAD,
            submitted_at="2026-11-23T09:00:00Z",
        )
        for number in range(500)
    ]
    people.pulls[7] = HEAD, [*crowd, *people.pulls[7][1]]
    assert code_of(fork(), people) == "changes-requested"
    assert sum(what.startswith("permission") for what in people.asked) == MOST_PEOPLE


def test_of_one_person_is_asked_once() -> None:
    people = approved_people()
    head, (review,) = people.pulls[7]
    people.pulls[7] = head, [review, review]
    assert code_of(fork(), people, GITHUB_RUN_ATTEMPT="1") == "approved"
    assert people.asked.count("permission wendy") == 1


@pytest.mark.parametrize("attempt", ["", "0", "-1", "two", "²", "1.0", "9" * 40])
def test_an_attempt_that_is_no_number_counts_as_a_re_run(attempt: str) -> None:
    assert code_of(fork(), approved_people(), GITHUB_RUN_ATTEMPT=attempt) == "rerun-unknown"
    again = {"GITHUB_RUN_ATTEMPT": attempt, "GITHUB_TRIGGERING_ACTOR": "wendy"}
    people = approved_people()
    people.adders[7, "run-tpu-tests"] = "wendy"
    assert code_of(fork(), people, **again) == "approved"


def test_the_jobs_actor_counts_where_a_payload_names_no_sender() -> None:
    environ = {"GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "dependabot[bot]"}
    payload = {"ref": "refs/heads/topic", "repository": {"full_name": "o/r", "default_branch": "main"}}
    found = gather("push", payload, environ=environ, rules=TrustRules())
    assert found.facts.actor == Person(login="dependabot[bot]")
    assert decide(found.facts, TrustRules()).code == "actor-bot"


def test_a_dispatch_whose_payload_says_nothing_else_is_of_the_jobs_repository() -> None:
    environ = {"GITHUB_RUN_ATTEMPT": "1", "GITHUB_ACTOR": "nektos/act", "GITHUB_REPOSITORY": "octo/tests"}
    found = gather("workflow_dispatch", {"inputs": {}}, environ=environ, rules=TrustRules())
    assert decide(found.facts, TrustRules()).code == "dispatched"


@pytest.mark.parametrize(
    "payload",
    [
        {"pull_request": None},
        {"pull_request": "x"},
        {"pull_request": {"number": 7, "labels": ["x"], "head": {"sha": HEAD}}},
        {"pull_request": {"number": 7, "head": {"sha": "main"}}},
        {"sender": "wendy"},
        {"repository": []},
    ],
)
def test_a_payload_that_is_none_is_an_error(payload: dict[str, Any]) -> None:
    with pytest.raises(EventError):
        gather("pull_request", {**fork(), **payload}, environ={}, rules=REVIEWED)


def test_somebody_elses_comment_is_none_of_the_senders() -> None:
    case = next(case for case in CASES if case.name == "a writer comments, and the exact head is approved")
    payload = payload_of(case.facts)
    payload["comment"]["user"] = {"login": "mallory"}
    found = gather(
        "issue_comment", payload, environ=environ_of(case.facts), rules=REVIEWED, people=people_of(case.facts)
    )
    assert found.facts.comment_edited
    assert found.facts.actor is not None
    assert found.facts.actor.permission is Permission.UNKNOWN
