"""The issue of a failure: title, labels, body with what it remembers in a hidden mark, and the few comments on it. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ci_runner import codec
from ci_runner.checks.tracking import FLOOD, GREEN_RUNS, INFRASTRUCTURE, Step, Tracked
from ci_runner.github.commands import one_line
from ci_runner.report.budget import fit, in_characters
from ci_runner.report.markdown import BREAK, Trusted, code, environment, text

LABEL = "ci-failure"
INFRASTRUCTURE_LABEL = "ci-infrastructure"
TITLE_LIMIT = 200  # GitHub takes 256
LABEL_LIMIT = 50
ROOM = 65_536
LISTED = 20
RUN_URL = re.compile(r"https?://[A-Za-z0-9.:-]+/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+/actions/runs/[0-9]+")
ORDER = ("head", "message", "others", "commits", "suspects", "runs", "again", "rule")
SHED = (
    ("runs", "runs"),
    ("suspects", "suspects"),
    ("others", "the list of tests"),
    ("message", "the message"),
)
_MARK = re.compile(r"\A\s*<!-- ci-runner:issue (\{[^<>]*\}) -->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A commit between the last good and the first bad one."""

    sha: str
    title: str
    author: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueText:
    """An issue to open or update."""

    title: str
    body: str
    labels: tuple[str, ...]


def issue_of(
    step: Step,
    *,
    repository: str | None = None,
    server: str = "https://github.com",
    suspects: Sequence[Suspect] = (),
    green_runs: int = GREEN_RUNS,
    room: int = ROOM,
) -> IssueText:
    """The issue that stands for a failure after a step."""
    tracked = step.tracked
    place = f"{server}/{quote(repository)}" if repository else ""
    mark = _mark(tracked)
    values: dict[str, Any] = {
        "tracked": tracked,
        "subject": tracked.test,
        "verb": "stands in the way" if tracked.suite == INFRASTRUCTURE else "fails",
        "platforms": ", ".join(tracked.platforms) or "an unknown machine",
        "others": step.others[:LISTED],
        "more_others": str(len(step.others) - LISTED) if len(step.others) > LISTED else "",
        "first_bad": _commit(tracked.first_bad, place),
        "last_bad": _commit(tracked.last_bad, place),
        "last_good": _commit(tracked.last_good, place) if tracked.last_good else "not known",
        "green": ", ".join(
            f"{name} {count} of {green_runs}" for name, count in sorted(tracked.green.items())
        ),
        "suspects": [
            {"link": _commit(each.sha, place), "title": each.title, "author": each.author}
            for each in suspects[:LISTED]
        ],
        "more_suspects": str(len(suspects) - LISTED) if len(suspects) > LISTED else "",
        "runs": [_run(run) for run in tracked.runs],
        "command": _command(tracked),
        "green_runs": green_runs,
    }
    left = room - in_characters(mark) - 1
    body = fit(environment().get_template("issue.md.j2"), values, ORDER, SHED, left, in_characters)
    return IssueText(title=_title(tracked), body=f"{mark}\n{body}", labels=_labels(tracked))


def tracked_in(body: str) -> Tracked | None:
    """What an issue of ours remembers; None if its mark is gone or broken."""
    match = _MARK.match(body.replace("\r\n", "\n"))
    if match is None:
        return None
    try:
        found = codec.build(Tracked, json.loads(match[1]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return found if found.suite and found.fingerprint else None


def comment_of(step: Step, *, repository: str | None = None, server: str = "https://github.com") -> str:
    """What is said below the issue for a step that says something."""
    tracked = step.tracked
    place = f"{server}/{quote(repository)}" if repository else ""
    run = _run(tracked.runs[0]) if tracked.runs else Trusted("a run")
    if step.comment == "closed":
        greens = ", ".join(f"{text(name)} {count}" for name, count in sorted(tracked.green.items()))
        return f"Green again: {greens} runs in a row, the last one {run}. Closed by the rule."
    if step.comment == "reopened":
        return f"Red again at {_commit(tracked.first_bad, place)} in {run} on {text(', '.join(tracked.platforms))}."
    return f"Still red at {_commit(tracked.last_bad, place)} in {run}, {tracked.count} red runs by now."


def _title(tracked: Tracked) -> str:
    what = {INFRASTRUCTURE: "machines"}.get(tracked.suite, tracked.suite)
    verb = "began to fail together" if tracked.fingerprint == FLOOD else ""
    line = one_line(f"{what}: {tracked.test} {verb}".strip(), TITLE_LIMIT)
    return line.replace("@", f"@{BREAK}")


def _labels(tracked: Tracked) -> tuple[str, ...]:
    if tracked.suite == INFRASTRUCTURE:
        return (LABEL, INFRASTRUCTURE_LABEL)
    return (LABEL, one_line(f"suite/{tracked.suite}".replace(",", " "), LABEL_LIMIT))


def _mark(tracked: Tracked) -> str:
    remembered = json.dumps(codec.plain(tracked), separators=(",", ":"))
    remembered = remembered.replace("<", "\\u003c").replace(">", "\\u003e").replace("--", "-\\u002d")
    return f"<!-- ci-runner:issue {remembered} -->"


def _commit(sha: str, place: str) -> Trusted:
    shown = code(sha[:10] or "unknown")
    if not place or re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", sha) is None:
        return shown
    return Trusted(f"[{shown}]({place}/commit/{sha})")


def _run(run: str) -> Trusted:
    if RUN_URL.fullmatch(run):
        return Trusted(f"[run {run.rpartition('/')[2]}]({run})")
    return Trusted(f"run {code(run, 80)}")


def _command(tracked: Tracked) -> str:
    if tracked.suite == INFRASTRUCTURE or tracked.fingerprint == FLOOD:
        return (
            "ci-runner doctor"
            if tracked.suite == INFRASTRUCTURE
            else f"ci-runner run {shlex.quote(tracked.suite)}"
        )
    return f"ci-runner run {shlex.quote(tracked.suite)} --only {shlex.quote(tracked.test)}"
