"""Tells GitHub what came of a run: the comment, the check run, the issues; or prints exactly what would be sent."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.errors import ConfigurationError, UsageError
from ci_runner.model import Event, RunResult
from ci_runner.report.comment import Context

if TYPE_CHECKING:
    from ci_runner.github.client import Client
    from ci_runner.report.check import CheckOutput

TRACKED_EVENTS = (
    "schedule",
    "push",
    "workflow_dispatch",
    "repository_dispatch",
    "workflow_call",
    "workflow_run",
)


@dataclass(slots=True)
class GitHub:
    """The three publishers that need GitHub's API; the client is made when the first of them speaks."""

    result: RunResult
    context: Context
    arguments: Namespace
    environ: Mapping[str, str]
    comment_url: str = ""
    _client: Client | None = None

    def client(self) -> Client:
        """The one client. Raises ConfigurationError if its library is not installed."""
        if self._client is None:
            try:
                from ci_runner.github.client import connect
            except ImportError as error:
                raise ConfigurationError(
                    f"the library for GitHub is missing: {error.name or error}",
                    fix='pip install "ci-runner[github]"; in a checkout set CI_RUNNER_EXTRAS=github',
                ) from error
            self._client = connect(self.environ, self.result.plan.event.repository)
        return self._client

    def comment(self) -> str:
        """The comment of this pull request."""
        from ci_runner.report.comment import part_of
        from ci_runner.report.parts import assemble
        from ci_runner.report.sticky import Mode, Publisher

        key, shared = self.arguments.comment_key, self.arguments.comment_part is not None
        try:
            part = part_of(self.arguments.comment_part or key, self.result, self.context)
            body = assemble(key, [part])
        except ValueError as error:
            raise UsageError(
                str(error), where="--comment-key", fix="use up to 60 letters, digits, dots and dashes"
            ) from error
        if self.arguments.dry_run:
            return f"would comment on the pull request ({self.arguments.comment_mode}):\n{body}"
        number = self._pull_request()
        if number is None:
            return "comment: not written, since this run belongs to no pull request"
        from ci_runner.report.publish.remarks import PullRequestRemarks

        remarks = PullRequestRemarks(self.client(), number)
        mode = Mode(self.arguments.comment_mode)
        told = Publisher(remarks, key, mode=mode, shared=shared).publish(part)
        self.comment_url = told.url
        return f"comment: {told.action}{f', {told.url}' if told.url else ''}"

    def check(self) -> str:
        """The check run on the commit."""
        from ci_runner.report.check import check_of

        event = self.result.plan.event
        check = check_of(self.arguments.check_name, self.result, self.context)
        if self.arguments.dry_run:
            return f"would set the check run:\n{check_text(check)}"
        if not event.commit:
            return "check: not set, since the commit is not known"
        from ci_runner.report.publish.checks import publish_check

        sent = publish_check(self.client(), check, commit=event.commit, run_url=self.context.run_url)
        return f"check: {sent.action}{f', {sent.url}' if sent.url else ''}"

    def issue(self) -> str:
        """Issues for what is red on the default branch."""
        from ci_runner.checks.tracking import decide, seen
        from ci_runner.report.issue import issue_of

        event = self.result.plan.event
        if (why := not_tracked(event)) is not None:
            return f"issue: none is kept, since {why}"
        bases = self.context.comparison.bases or {}
        run = self.context.run_url or self.result.run_id
        found = seen(
            self.result,
            run=run,
            at=time.time(),
            last_good={name: base.commit for name, base in bases.items()},
        )
        server = self.context.server
        if self.arguments.dry_run:
            texts = [issue_of(step, repository=event.repository, server=server) for step in decide(found, [])]
            shown = [f"{text.title}\nlabels: {', '.join(text.labels)}\n{text.body}" for text in texts]
            return "\n".join(["would keep issues (those that are there already are not asked for):", *shown])
        from ci_runner.report.publish.issues import publish_issues

        return "\n".join(publish_issues(self.client(), found, server=server))

    def _pull_request(self) -> int | None:
        """The pull request; a workflow_run from a fork does not say it, so it is found by its branch and commit."""
        event = self.result.plan.event
        if event.pull_request is not None or event.kind != "workflow_run":
            return event.pull_request
        owner = head_owner(Path(self.environ.get("GITHUB_EVENT_PATH") or os.devnull))
        if owner is None or not event.branch:
            return None
        for found in self.client().pages("pulls", state="open", head=f"{owner}:{event.branch}"):
            if found["head"]["sha"] == event.commit:
                return int(found["number"])
        return None


def head_owner(path: Path) -> str | None:
    """Whose repository the run of a workflow_run payload came from; None if that repository is gone."""
    from ci_runner.github.payload import parse_json, read_bytes

    found: object = parse_json(read_bytes(path), str(path))
    for name in ("workflow_run", "head_repository", "owner", "login"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None


def not_tracked(event: Event) -> str | None:
    """Why a run of this event keeps no issues; None if it does."""
    if event.pull_request is not None or event.kind not in TRACKED_EVENTS:
        return f"this is a run of {event.kind}, and only the default branch has issues"
    if event.default_branch and event.branch and event.branch != event.default_branch:
        return f"this is a run of the branch {event.branch}, and only {event.default_branch} has issues"
    return None


def check_text(check: CheckOutput) -> str:
    """A check run as the API would get it."""
    return json.dumps(dataclasses.asdict(check), indent=2, ensure_ascii=False)
