"""Who may spend money: a table of cases, and what must hold for every event there could be."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from generated import trust as trust_page
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.config.settings import TrustRules
from ci_runner.github.people import Permission, Person, Review
from ci_runner.github.trust import ROWS, OtherRun, TrustFacts, decide
from ci_runner.github.trust_words import ACTIONS, ALLOWED, REFUSED
from ci_runner.model import Lane
from tests.trust_kit import CASES, COMMITS, Case

APPROVED = next(case for case in CASES if case.code == "approved")
HEAD, LATER, OTHER = COMMITS["head"], COMMITS["later"], COMMITS["other"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_every_row_of_the_table(case: Case) -> None:
    said = decide(case.facts, case.rules)
    assert (said.code, said.lane) == (case.code, case.lane)
    assert said.allowed == (case.code in ALLOWED)
    assert bool(said.fix) != said.allowed
    assert said.reason
    assert "{" not in said.reason + said.fix


def test_the_table_has_every_event_and_every_code_in_it() -> None:
    assert len(CASES) >= 60
    assert {case.facts.kind for case in CASES} >= set(ROWS)
    assert {case.code for case in CASES} == set(ALLOWED) | set(REFUSED)


def test_a_name_that_is_no_login_is_not_repeated() -> None:
    hostile = Person(login="x</details>@everyone", kind="User", permission=Permission.READ)
    facts = TrustFacts(
        kind="pull_request", action="opened", repository="o/r", head_repository="o/r", actor=hostile
    )
    assert decide(facts, TrustRules()).reason == (
        "somebody has read access, and spending money takes write access"
    )
    assert "::" not in decide(TrustFacts(kind="::set-output::"), TrustRules()).reason


def test_an_approval_names_the_one_commit_that_may_run() -> None:
    assert decide(APPROVED.facts, APPROVED.rules).commit == HEAD


LOGINS = st.sampled_from(["wendy", "WENDY", "max", "mallory", "stan", "release-bot[bot]", "dependabot[bot]"])
PEOPLE = st.builds(
    Person,
    login=LOGINS,
    kind=st.sampled_from([None, "User", "Bot", "Organization"]),
    permission=st.sampled_from(list(Permission)),
)
ANYBODY = st.none() | PEOPLE
SHAS = st.sampled_from([None, HEAD, LATER, OTHER, "main", ""])
TIMES = st.sampled_from(
    [None, "", "now", "2026-11-23T10:00:00Z", "2026-11-23T11:00:00", "2026-11-23T09:00:00+05:00"]
)
REVIEWS = st.builds(
    Review,
    author=st.none() | LOGINS,
    state=st.sampled_from(["APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING", "approved"]),
    commit_id=SHAS,
    submitted_at=TIMES,
    permission=st.sampled_from(list(Permission)),
)
NAMES = st.sampled_from([None, "octo/tests", "mallory/tests", "Octo/Tests", ""])
ATTEMPTS = st.sampled_from([None, 0, 1, 2])
LABELS = st.sampled_from(["run-tpu-tests", "docs", "no-unit"])
FACTS = st.builds(
    TrustFacts,
    kind=st.sampled_from([*ROWS, "watch", "", "local"]),
    action=st.sampled_from([None, *ACTIONS, "closed", "created", "completed", "checks_requested"]),
    repository=st.sampled_from([None, "octo/tests"]),
    on_default_branch=st.booleans(),
    head_repository=NAMES,
    head_commit=SHAS,
    head_now=SHAS,
    author=st.none() | LOGINS,
    actor=ANYBODY,
    labels=st.lists(LABELS, max_size=2).map(tuple),
    label_added=st.none() | LABELS,
    label_added_by=ANYBODY,
    reviews=st.lists(REVIEWS, max_size=4).map(tuple),
    run_attempt=ATTEMPTS,
    rerun_by=ANYBODY,
    run=st.none()
    | st.builds(
        OtherRun,
        kind=st.sampled_from([None, *ROWS, "watch"]),
        head_repository=NAMES,
        actor=ANYBODY,
        attempt=ATTEMPTS,
        rerun_by=ANYBODY,
    ),
    on_pull_request=st.booleans(),
    comment_edited=st.booleans(),
)
RULES = st.builds(
    TrustRules,
    forks=st.sampled_from(["never", "reviewed", "yes"]),
    bots=st.sampled_from([(), ("release-bot[bot]",), ("release-bot",)]),
)
REVIEWED = TrustRules(forks="reviewed")
# Half of the examples start where everything is in order, so that one thing wrong is tried and not twenty.
NEARLY = st.builds(
    lambda facts, only: dataclasses.replace(APPROVED.facts, **{name: getattr(facts, name) for name in only}),
    FACTS,
    st.sets(st.sampled_from([field.name for field in dataclasses.fields(TrustFacts)]), max_size=3),
)
ANY_FACTS = FACTS | NEARLY


@given(ANY_FACTS, RULES)
def test_it_always_decides_and_says_what_to_do(facts: TrustFacts, rules: TrustRules) -> None:
    said = decide(facts, rules)
    assert said.allowed == (said.code in ALLOWED)
    assert said.allowed or said.fix
    assert not said.allowed or said.lane in (Lane.SAME_REPOSITORY, Lane.FORK_REVIEWED)
    assert (said.commit is not None) == (said.lane is Lane.FORK_REVIEWED)


def approves(review: Review, facts: TrustFacts) -> bool:
    """Whether a review is what lane B asks for, in other words than the code's."""
    return (
        review.state == "APPROVED"
        and review.commit_id == facts.head_now
        and review.permission in ("admin", "maintain", "write")
        and review.author is not None
        and facts.author is not None
        and review.author.lower() != facts.author.lower()
        and not review.author.endswith("[bot]")
    )


@given(ANY_FACTS, RULES)
def test_a_fork_never_spends_without_an_approval_of_its_exact_head(
    facts: TrustFacts, rules: TrustRules
) -> None:
    said = decide(facts, rules)
    foreign = (
        facts.kind in ("pull_request", "pull_request_target") and facts.head_repository != facts.repository
    )
    if said.allowed and (foreign or facts.kind == "issue_comment"):
        assert rules.forks == "reviewed"
        assert said.lane is Lane.FORK_REVIEWED
        assert any(approves(review, facts) for review in facts.reviews)
        assert said.commit == facts.head_now
        assert facts.kind == "issue_comment" or facts.head_commit == facts.head_now
    if said.allowed and facts.kind == "workflow_run":
        assert facts.run is not None
        assert facts.run.head_repository == facts.repository


@given(ANY_FACTS, RULES, st.lists(REVIEWS, min_size=1, max_size=3), st.data())
def test_nothing_that_strangers_write_turns_a_refusal_into_a_lease(
    facts: TrustFacts, rules: TrustRules, reviews: list[Review], data: st.DataObject
) -> None:
    if decide(facts, rules).allowed:
        return
    theirs = tuple(
        dataclasses.replace(
            review, permission=data.draw(st.sampled_from(["none", "read", "triage"]).map(Permission))
        )
        for review in reviews
        if review.author not in {known.author for known in facts.reviews}
    )
    labels = tuple(data.draw(st.lists(LABELS.filter(lambda label: label != facts.label_added), max_size=3)))
    more = dataclasses.replace(
        facts, reviews=(*theirs, *facts.reviews, *theirs), labels=(*facts.labels, *labels)
    )
    assert not decide(more, rules).allowed


@given(ANY_FACTS, RULES, st.data())
def test_knowing_less_never_turns_a_refusal_into_a_lease(
    facts: TrustFacts, rules: TrustRules, data: st.DataObject
) -> None:
    if decide(facts, rules).allowed:
        return
    names = (
        "head_commit",
        "head_now",
        "author",
        "actor",
        "label_added",
        "label_added_by",
        "rerun_by",
        "run",
        "run_attempt",
    )
    forgotten = data.draw(st.sets(st.sampled_from(names), min_size=1))
    nothing: dict[str, Any] = dict.fromkeys(forgotten)
    less = dataclasses.replace(facts, **nothing)
    assert not decide(less, rules).allowed
    assert not decide(facts, TrustRules()).allowed


def test_the_page_has_every_event_and_every_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "trust.md").read_text(encoding="utf-8")
    assert page == trust_page.text()
    cells = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| `")]
    assert cells == [f"`{name}`" for name in (*ROWS, *ALLOWED, *REFUSED)]
    assert "{" not in page
