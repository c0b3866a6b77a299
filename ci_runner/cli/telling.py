"""Tells GitHub what came of a run: the comment, the check run, the issues; or prints exactly what would be sent."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci_runner.errors import AuthenticationError, ConfigurationError, UsageError
from ci_runner.github.commands import one_line
from ci_runner.model import Event, Lane, RunResult
from ci_runner.report.comment import Context

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings
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
    """The publishers that need GitHub's API; the client is made when the first of them speaks."""

    result: RunResult
    runs: Sequence[RunResult]
    context: Context
    settings: Settings
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

    def history(self) -> str:
        """The records of all runs, kept for later ones to be compared with."""
        event = self._remembered_event()
        if event is None:
            return (
                "history: not kept, since only runs of the default branch and of pull requests are remembered"
            )
        from ci_runner.history.store import DEFAULT, MemoryStore, open_store, usual_location
        from ci_runner.report.files import publish_records

        runs = [_of_event(run, event) for run in self.runs if run.suites]
        where = usual_location(self.settings.stores, self.environ) or DEFAULT
        if self.arguments.dry_run:
            kept = [key for run in runs for key in publish_records(run, MemoryStore())]
            return "\n".join([f"would keep in the history ({where}):", *kept])
        store = open_store(where, self.settings.root)
        try:
            with store.together(f"Remember {one_line(self.result.run_id, 200)}"):
                keys = [key for run in runs for key in publish_records(run, store)]
        except AuthenticationError as error:
            raise AuthenticationError(
                f"{error.what}; the record stays in the run folder, which is the artifact", fix=error.fix
            ) from error
        return f"history: {len(keys)} kept in {where}"

    def _remembered_event(self) -> Event | None:
        """The event as history knows it; a fork's branch never passes for a branch of ours."""
        event = self.result.plan.event
        number = self._pull_request()
        if number is not None:
            return dataclasses.replace(event, pull_request=number)
        ours = event.lane is Lane.SAME_REPOSITORY and event.kind not in ("files", "workflow_run")
        on_default = event.branch == (event.default_branch or self.settings.default_branch)
        return event if ours and on_default else None

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


def _of_event(run: RunResult, event: Event) -> RunResult:
    return dataclasses.replace(run, plan=dataclasses.replace(run.plan, event=event))


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
