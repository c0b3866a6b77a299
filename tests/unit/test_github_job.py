"""The name of a GitHub job: the same from every step, another one for every other job, and a label as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.github.job import call_of, job_of, mark_of, workflow_run_of
from ci_runner.model import LeaseState
from ci_runner.providers.identity import label_value, labels_of, lease_from
from tests.job_kit import make_lease

HERE = {
    "GITHUB_RUN_ID": "12345678901",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REPOSITORY": "org/app",
    "GITHUB_JOB": "tpu",
    "RUNNER_NAME": "GitHub Actions 7",
}


@pytest.mark.parametrize("name", sorted(HERE))
def test_each_variable_that_differs_makes_another_job(name: str) -> None:
    assert job_of(HERE) == job_of(dict(HERE))
    assert job_of({**HERE, name: "9"}) != job_of(HERE)


def test_all_jobs_and_attempts_of_a_workflow_run_begin_alike() -> None:
    for name in ("GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "RUNNER_NAME"):
        assert job_of({**HERE, name: "9"}).startswith(workflow_run_of(HERE))
    for name, value in (("GITHUB_RUN_ID", "123456789012"), ("GITHUB_REPOSITORY", "org/other")):
        assert not job_of({**HERE, name: value}).startswith(workflow_run_of(HERE))


@pytest.mark.parametrize("number", ["", "x", "1; rm", "\u0663", "1\n"])
def test_outside_of_actions_there_is_no_job(number: str) -> None:
    assert job_of({**HERE, "GITHUB_RUN_ID": number}) == workflow_run_of({"GITHUB_RUN_ID": number}) == ""


def test_calls_of_one_workflow_in_one_run_are_told_apart_in_every_attempt() -> None:
    one, other = {**HERE, "CI_RUNNER_CALL": "tpu"}, {**HERE, "CI_RUNNER_CALL": "gpu"}
    again = {**one, "GITHUB_RUN_ATTEMPT": "3", "RUNNER_NAME": "9"}
    for environ in (one, again):
        assert mark_of(environ).endswith(call_of(one))
        assert not mark_of(environ).endswith(call_of(other))
        assert mark_of(environ).startswith(job_of(environ))  # a guard that was told of no call finds it
        assert mark_of(environ).startswith(workflow_run_of(HERE))
    assert mark_of(HERE) == job_of(HERE)
    assert mark_of({"CI_RUNNER_CALL": "tpu"}) == call_of(HERE) == ""


@given(
    st.dictionaries(
        st.sampled_from(sorted({*HERE, "CI_RUNNER_CALL"} - {"GITHUB_RUN_ID"})), st.text(max_size=300)
    )
)
def test_whatever_the_variables_hold_the_name_is_a_label_as_it_is(given: dict[str, str]) -> None:
    name = mark_of({**HERE, **given})
    assert label_value(name) == name != ""


def test_a_machine_bears_the_job_that_leased_it() -> None:
    lease = make_lease(labels={"job": job_of(HERE)})
    found = lease_from(
        labels_of(lease), provider="p", machine_type=None, zone=None, state=LeaseState.READY, created_at=1.0
    )
    assert found is not None
    assert found.labels["job"] == job_of(HERE)
