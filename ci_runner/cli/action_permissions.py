"""What each action has to be allowed: scopes of the job's token at GitHub, and what is done at a cloud in its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ci_runner.providers.permissions import AWS, GCP, Purpose

CLOUDS = (GCP, AWS)
CHECKED_OUT = ("plan", "test", "tpu-test", "gpu-test", "benchmark", "report", "guard", "reap")
TELLING = ("test", "tpu-test", "gpu-test", "benchmark", "report")
LEASING = ("tpu-test", "gpu-test", "benchmark")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One line under `permissions:` of a job."""

    name: str  # as a workflow writes it
    why: str
    when: str  # empty: always
    actions: tuple[str, ...]
    paths: tuple[str, ...] = ()  # the first words of the requests to GitHub's API that it is for


@dataclass(frozen=True, slots=True, kw_only=True)
class AtClouds:
    """What an action does at clouds."""

    clouds: tuple[str, ...] = ()
    purposes: tuple[Purpose, ...] = ()


SCOPES: tuple[Scope, ...] = (
    Scope(
        name="contents: read",
        why="checks the commit out, compares it with its base, and reads a history on a branch",
        when="",
        actions=CHECKED_OUT,
        paths=("commits", "compare", "git"),
    ),
    Scope(
        name="contents: write",
        why="keeps the history on a branch of the repository",
        when="`[stores] history` is a branch, and only in jobs that push to it",
        actions=TELLING,
        paths=("git",),
    ),
    Scope(
        name="pull-requests: read",
        why="asks who set a label, and who has approved which commit, before anything is leased",
        when="",
        actions=("plan", *LEASING),
        paths=("pulls", "issues"),
    ),
    Scope(
        name="pull-requests: write",
        why="writes the comment on the pull request",
        when="`publish` has comment",
        actions=TELLING,
        paths=("issues",),
    ),
    Scope(
        name="checks: write",
        why="writes a check run with annotations",
        when="`publish` has check",
        actions=TELLING,
        paths=("check-runs", "commits"),
    ),
    Scope(
        name="issues: write",
        why="opens and closes issues about tests",
        when="`publish` has issue",
        actions=TELLING,
        paths=("issues",),
    ),
    Scope(
        name="id-token: write",
        why="lets the job prove to a cloud which repository and environment it runs in (OIDC)",
        when="",
        actions=(*LEASING, "guard", "reap"),
    ),
    Scope(
        name="id-token: write",
        why="lets the job prove the same to the cloud that has the bucket",
        when="`[stores]` names a bucket",
        actions=("plan", "test", "report"),
    ),
)
ALWAYS_THERE = ("collaborators",)  # needs metadata: read, which every token has

AT_CLOUDS: Mapping[str, AtClouds] = MappingProxyType(
    {
        "setup": AtClouds(),
        "plan": AtClouds(clouds=CLOUDS, purposes=(Purpose.HISTORY,)),
        "test": AtClouds(clouds=CLOUDS, purposes=(Purpose.HISTORY,)),
        "tpu-test": AtClouds(clouds=(GCP,), purposes=(Purpose.LEASE, Purpose.RELEASE, Purpose.HISTORY)),
        "gpu-test": AtClouds(clouds=(AWS,), purposes=(Purpose.LEASE, Purpose.RELEASE, Purpose.HISTORY)),
        "benchmark": AtClouds(clouds=CLOUDS, purposes=(Purpose.LEASE, Purpose.RELEASE, Purpose.HISTORY)),
        "report": AtClouds(clouds=CLOUDS, purposes=(Purpose.HISTORY,)),
        "guard": AtClouds(clouds=CLOUDS, purposes=(Purpose.RELEASE,)),
        "reap": AtClouds(clouds=CLOUDS, purposes=(Purpose.REAP,)),
    }
)


def scopes_of(action: str) -> list[Scope]:
    """The lines for a job with this action; those that are always needed first."""
    return sorted((each for each in SCOPES if action in each.actions), key=lambda each: bool(each.when))
