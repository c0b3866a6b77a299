"""Finds the run that a change is compared with: of the merge base, or of its nearest ancestor that has one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from sys import intern
from typing import TYPE_CHECKING

from ci_runner.checks.compare import Base
from ci_runner.history.query import Stored, load_cases, load_records

if TYPE_CHECKING:
    from ci_runner.history.store import Store
    from ci_runner.model import Event

LOOKED_AT = 400  # records of a suite, newest first
ANCESTORS = 200  # commits before the merge base
COMPLETE = ("passed", "failed")
SHARD = re.compile(r"-([0-9]+)of([0-9]+)$")
Git = Callable[[Sequence[str]], "bytes | None"]


def base_branch_of(event: Event, default: str) -> str:
    """The branch that a change is for; a push is compared with the branch's own past."""
    return event.base_branch or event.branch or default


def ancestors(git: Git, event: Event, base_branch: str) -> list[str]:
    """The commits to look for, the merge base first; empty if git cannot tell (a shallow clone, no git)."""
    head = event.commit or "HEAD"
    first = f"{head}^"
    if event.pull_request is not None or event.kind in ("local", "merge_group"):
        tips = [tip for tip in (event.base_commit, f"origin/{base_branch}", base_branch) if tip]
        bases = (git(["merge-base", head, tip]) for tip in tips)
        first = next((base.decode().strip() for base in bases if base), event.base_commit or "")
    elif event.base_commit:
        first = event.base_commit
    if not first:
        return []
    listed = git(["rev-list", "--first-parent", f"--max-count={ANCESTORS}", first, "--"])
    commits = listed.decode().split() if listed else []
    return commits or ([first] if _is_commit(first) else [])


def _is_commit(text: str) -> bool:
    return len(text) == 40 and all(letter in "0123456789abcdef" for letter in text)


def find_bases(
    store: Store,
    suites: Sequence[str],
    commits: Sequence[str],
    *,
    branch: str,
    but: frozenset[str] = frozenset(),
) -> dict[str, Base]:
    """For each suite the complete run of the first of these commits that has one; suites without one are left out.

    `but` are runs that are not to be compared with: the run's own. Runs of pull requests are nobody's base.
    """
    place = {commit: index for index, commit in enumerate(commits)}
    return {
        suite: found
        for suite in dict.fromkeys(suites)
        if (found := _base(store, suite, place, branch, but)) is not None
    }


def _base(
    store: Store, suite: str, place: Mapping[str, int], branch: str, but: frozenset[str]
) -> Base | None:
    by_commit: dict[int, dict[str, Stored]] = {}
    for stored in load_records(store, suite=suite, limit=LOOKED_AT):
        record = stored.record
        index = place.get(record.commit or "")
        ours = record.pull_request is None and record.branch in (branch, None) and record.run_id not in but
        if index is not None and ours:  # the newest of each part: a re-run replaces what it ran again
            by_commit.setdefault(index, {}).setdefault(record.selection or suite, stored)
    for index in sorted(by_commit):
        parts = by_commit[index]
        if _is_complete(parts):
            return _read(store, suite, list(parts.values()), index)
    return None


def _is_complete(parts: Mapping[str, Stored]) -> bool:
    """Whether every part ran to its end, and no shard of a split suite is absent."""
    if any(stored.record.verdict not in COMPLETE for stored in parts.values()):
        return False
    totals = {int(match[2]) for name in parts if (match := SHARD.search(name)) is not None}
    return not totals or (len(totals) == 1 and len(parts) == totals.pop())


def _read(store: Store, suite: str, parts: Sequence[Stored], distance: int) -> Base:
    outcomes: dict[str, str] = {}
    flaky = set()
    for part in parts:
        for case in load_cases(store, part.record):
            # one object for each word: a base has as many outcomes as the project has tests
            outcomes[case["id"]] = (
                "quarantined" if case.get("quarantined") else intern(str(case.get("outcome")))
            )
            if case.get("flaky"):
                flaky.add(case["id"])
    first = parts[0].record
    return Base(
        suite=suite,
        commit=first.commit or "",
        run_id=first.run_id,
        timestamp=first.timestamp,
        distance=distance,
        outcomes=outcomes,
        flaky=frozenset(flaky),
        metrics={
            name: value
            for name, value in first.metrics.items()
            if all(part.record.metrics.get(name) == value for part in parts)
        },
    )
