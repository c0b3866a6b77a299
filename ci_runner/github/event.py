"""What happened: GitHub's payload and environment, a saved event or the person at the keyboard, as one Event."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ci_runner.errors import EventError
from ci_runner.github.changes import read_changed_files, with_changed_files
from ci_runner.github.commands import one_line
from ci_runner.github.local import local_event, with_git_changes
from ci_runner.github.payload import FIX, Payload, clean, is_commit, parse_json, read_bytes, scalar_text
from ci_runner.github.saved import SAVED, read_saved, saved_text
from ci_runner.model import ChangedFile, ChangeKind, Event, Lane

__all__ = [
    "event_from",
    "event_from_payload",
    "find_event",
    "local_event",
    "read_changed_files",
    "saved_text",
    "with_changed_files",
    "with_git_changes",
    "with_inputs",
]

NO_LIST = "the payload of {} does not list changed files"
MOST_COMMITS = 2048  # a push lists no more: docs.github.com/webhooks/webhook-events-and-payloads#push
QUEUE_BRANCH = re.compile(r"gh-readonly-queue/.+/pr-([1-9][0-9]{0,9})-[0-9a-f]{40,64}")

Environ = Mapping[str, str]


def find_event(
    root: Path,
    environ: Environ,
    *,
    file: Path | None = None,
    name: str | None = None,
    changed_files: Path | None = None,
    inputs: Mapping[str, str] | None = None,
    default_branch: str = "main",
) -> Event:
    """The event that a command answers to: of the file, else of this workflow's run, else of the person here.

    What a payload does not list as changed is asked of git; a saved event is taken as it is.
    """
    theirs = Path(environ["GITHUB_EVENT_PATH"]) if environ.get("GITHUB_EVENT_PATH") else None
    path = file or theirs
    if path is None:
        event = local_event(root, default_branch=default_branch)
    else:
        own = theirs is not None and path.absolute() == theirs.absolute()
        event, saved = _load(
            path, name or (environ.get("GITHUB_EVENT_NAME") if own else None), environ if own else {}
        )
        if not saved and changed_files is None:
            event = with_git_changes(event, root)
    if inputs:
        event = with_inputs(event, inputs)
    return event if changed_files is None else with_changed_files(event, changed_files)


def event_from(path: Path, *, name: str | None = None, environ: Environ | None = None) -> Event:
    """The event in a file: GitHub's payload of the event called `name`, or what `saved_text` wrote.

    The environment fills in what payloads leave out (commit and branch of a schedule), and only counts for the
    payload that belongs to it: pass it when the file is the one that its GITHUB_EVENT_PATH names.
    Raises EventError with the cause and the fix.
    """
    return _load(path, name, environ or {})[0]


def _load(path: Path, name: str | None, environ: Environ) -> tuple[Event, bool]:
    """The event of a file, and whether it was a saved one."""
    data = parse_json(read_bytes(path), str(path))
    if not isinstance(data, Mapping):
        raise EventError("the event file holds no JSON object", where=str(path), fix=FIX)
    if SAVED in data:
        event = read_saved(data, str(path))
        if name and name != event.kind:
            raise EventError(
                f'the saved event is of kind "{one_line(event.kind, 80)}" and not "{one_line(name, 80)}"',
                where=str(path),
                fix="leave --event-name away: a saved event knows its kind",
            )
        return event, True
    if not name:
        raise EventError(
            "a payload does not say which event it belongs to",
            where=str(path),
            fix=f"add --event-name NAME; names are {', '.join(READERS)}",
        )
    return event_from_payload(name, data, environ=environ, where=str(path)), False


def event_from_payload(
    name: str, data: Mapping[str, object], *, environ: Environ | None = None, where: str = "payload"
) -> Event:
    """The event called `name` with this payload. Raises EventError with the cause and the fix."""
    reader = READERS.get(name)
    if reader is None:
        near = difflib.get_close_matches(name, READERS, n=1)
        raise EventError(
            f'"{one_line(name, 80)}" is no event that ci-runner acts on',
            where=where,
            fix=f'did you mean "{near[0]}"?' if near else f"use one of {', '.join(READERS)}",
        )
    payload = Payload(data, where)
    environ = environ or {}
    common = {
        "kind": name,
        "action": payload.optional_text("action"),
        "repository": payload.optional_text("repository", "full_name")
        or environ.get("GITHUB_REPOSITORY")
        or None,
        "default_branch": payload.optional_text("repository", "default_branch"),
        "actor": payload.optional_text("sender", "login") or environ.get("GITHUB_ACTOR") or None,
    }
    return reader(Event(**common), payload, environ)  # type: ignore[arg-type]


def with_inputs(event: Event, inputs: Mapping[str, str], where: str = "input") -> Event:
    """The event with the inputs of a called workflow, which GitHub does not put into the payload.

    Raises EventError if one of them is given already with another value.
    """
    for name, value in inputs.items():
        if event.inputs.get(name, value) != value:
            raise EventError(
                f'the input "{one_line(name, 80)}" is given twice, as "{one_line(event.inputs[name], 80)}" '
                f'and as "{one_line(value, 80)}"',
                where=where,
                fix="give it once",
            )
    merged = {**event.inputs, **{clean(name): clean(value) for name, value in inputs.items()}}
    return _with_commit_input(dataclasses.replace(event, inputs=merged), where)


def _push(event: Event, payload: Payload, environ: Environ) -> Event:
    if payload.get("ref") is None and payload.get("after") is None and environ.get("GITHUB_SHA"):
        # a runner on a developer's machine that was given no payload: the environment says what it would
        found = _at_ref(event, payload, environ)
        return dataclasses.replace(found, changed_files_note=NO_LIST.format("a push without its payload"))
    branch, tag = _ref(payload)
    if payload.flag("deleted") or not payload.text("after").strip("0"):
        raise EventError(
            f'the push deleted {"tag" if tag else "branch"} "{one_line(branch or tag or "", 80)}": '
            "there is no commit to test",
            where=payload.where,
            fix="leave such pushes out of the workflow: if: ${{ !github.event.deleted }}",
        )
    before = payload.optional_text("before")
    files, note = _files_of_push(payload)
    return dataclasses.replace(
        event,
        branch=branch,
        tag=tag,
        commit=payload.commit("after"),
        base_commit=before.lower() if before and is_commit(before) else None,
        actor=event.actor or payload.optional_text("pusher", "name"),
        changed_files=files,
        changed_files_note=note,
    )


def _files_of_push(payload: Payload) -> tuple[tuple[ChangedFile, ...] | None, str | None]:
    """The files that a push's commits list, if they add up to the difference; a runner's payload has none."""
    commits = payload.items("commits")
    if payload.flag("created") or payload.flag("forced") or not commits:
        return None, "the push made or rewrote the branch: its commits are not what changed"
    if len(commits) >= MOST_COMMITS:
        return None, f"the push has {MOST_COMMITS} commits or more, and a payload lists no more"
    kinds = {"added": ChangeKind.ADDED, "modified": ChangeKind.MODIFIED, "removed": ChangeKind.REMOVED}
    files: dict[str, ChangedFile] = {}
    for commit in commits:
        if not isinstance(commit, Mapping) or not all(isinstance(commit.get(name), list) for name in kinds):
            return None, NO_LIST.format("a push")
        for name, kind in kinds.items():
            for path in commit[name]:
                if not isinstance(path, str) or not path:
                    payload.fail(("commits",), f"lists under {name} what is no path")
                files[clean(path)] = ChangedFile(path=clean(path), kind=kind)
    return tuple(files[path] for path in sorted(files)), None


def _pull_request(event: Event, payload: Payload, _environ: Environ) -> Event:
    pull = payload.object("pull_request")
    labels = [
        Payload(label, payload.where, ("pull_request", "labels")) if isinstance(label, Mapping) else None
        for label in pull.items("labels")
    ]
    if None in labels:
        pull.fail(("labels",), "holds what is no label")
    changed_label = payload.optional_text("label", "name")
    number = payload.get("number")
    return dataclasses.replace(
        event,
        branch=pull.text("head", "ref"),
        base_branch=pull.text("base", "ref"),
        commit=pull.commit("head", "sha"),
        base_commit=pull.commit("base", "sha"),
        pull_request=pull.number("number") if number is None else payload.number("number"),
        draft=pull.flag("draft"),
        labels=tuple(dict.fromkeys(label.text("name") for label in labels if label is not None)),
        label_added=changed_label if event.action == "labeled" else None,
        label_removed=changed_label if event.action == "unlabeled" else None,
        lane=_lane(pull.get("head", "repo"), pull.get("base", "repo"), payload),
        changed_files_note=NO_LIST.format("a pull request"),
    )


def _lane(head: object, base: object, payload: Payload) -> Lane:
    """A head whose repository is not known to be the base's own is a fork's: it may have been deleted since."""
    if not isinstance(base, Mapping) or not isinstance(base.get("full_name"), str):
        payload.fail(("pull_request", "base", "repo", "full_name"), "is missing")
    if not isinstance(head, Mapping):
        return Lane.FORK
    same = all(head.get(name) == base.get(name) for name in ("id", "full_name"))
    return Lane.SAME_REPOSITORY if same else Lane.FORK


def _schedule(event: Event, payload: Payload, environ: Environ) -> Event:
    return dataclasses.replace(
        _at_ref(event, payload, environ),
        schedule=payload.text("schedule"),
        changed_files_note="a schedule has no change to compare",
    )


def _dispatch(event: Event, payload: Payload, environ: Environ) -> Event:
    given = payload.get("inputs")
    if given is not None and not isinstance(given, Mapping):
        payload.fail(("inputs",), "is no object")
    return _dispatched(event, payload, environ, given or {})


def _repository_dispatch(event: Event, payload: Payload, environ: Environ) -> Event:
    given = payload.get("client_payload")
    if given is not None and not isinstance(given, Mapping):
        payload.fail(("client_payload",), "is no object")
    branch = payload.optional_text("branch")
    return _dispatched(dataclasses.replace(event, branch=branch), payload, environ, given or {})


def _dispatched(event: Event, payload: Payload, environ: Environ, given: Mapping[str, object]) -> Event:
    inputs = {clean(name): scalar_text(given[name]) for name in sorted(given)}
    event = dataclasses.replace(
        _at_ref(event, payload, environ),
        inputs=inputs,
        changed_files_note=f"{event.kind} has no change to compare",
    )
    return _with_commit_input(event, payload.where)


def _with_commit_input(event: Event, where: str) -> Event:
    commit = event.inputs.get("commit", "").strip()
    if not commit:
        return event
    if not is_commit(commit):
        raise EventError(
            f'the input "commit" is no full commit SHA: "{one_line(commit, 80)}"',
            where=where,
            fix="give all 40 digits, as git rev-parse prints them",
        )
    return dataclasses.replace(event, commit=commit.lower())


def _merge_group(event: Event, payload: Payload, _environ: Environ) -> Event:
    group = payload.object("merge_group")
    head = group.text("head_ref").removeprefix("refs/heads/")
    queued = QUEUE_BRANCH.fullmatch(head)
    return dataclasses.replace(
        event,
        branch=head,
        base_branch=group.text("base_ref").removeprefix("refs/heads/"),
        commit=group.commit("head_sha"),
        base_commit=group.commit("base_sha"),
        pull_request=int(queued[1]) if queued else None,
        changed_files_note=NO_LIST.format("a merge group"),
    )


def _workflow_run(event: Event, payload: Payload, _environ: Environ) -> Event:
    run = payload.object("workflow_run")
    head = run.get("head_repository")
    same = isinstance(head, Mapping) and head.get("full_name") == event.repository is not None
    return dataclasses.replace(
        event,
        branch=run.optional_text("head_branch"),
        commit=run.commit("head_sha"),
        lane=Lane.SAME_REPOSITORY if same else Lane.FORK,
        changed_files_note=NO_LIST.format("a workflow run"),
    )


def _issue_comment(event: Event, payload: Payload, _environ: Environ) -> Event:
    """Whose commit it is about, the payload does not say: it counts as a fork's, and the decision to trust names it."""
    issue = payload.object("issue")
    about = isinstance(issue.get("pull_request"), Mapping)
    return dataclasses.replace(
        event,
        pull_request=issue.number("number") if about else None,
        draft=issue.flag("draft"),
        lane=Lane.FORK,
        changed_files_note=NO_LIST.format("a comment"),
    )


def _at_ref(event: Event, payload: Payload, environ: Environ) -> Event:
    """Branch and commit of an event that speaks of no change: the payload's ref, else the environment's."""
    branch, tag = _ref(payload) if payload.get("ref") is not None else _ref_of(environ.get("GITHUB_REF", ""))
    commit = environ.get("GITHUB_SHA", "")
    if commit and not is_commit(commit):
        raise EventError(
            f'GITHUB_SHA is no commit SHA: "{one_line(commit, 80)}"',
            where="environment",
            fix="do not set it by hand",
        )
    return dataclasses.replace(event, branch=branch or event.branch, tag=tag, commit=commit.lower() or None)


def _ref(payload: Payload) -> tuple[str | None, str | None]:
    branch, tag = _ref_of(payload.text("ref"))
    if branch is None and tag is None:
        payload.fail(("ref",), f'is neither a branch nor a tag: "{one_line(payload.text("ref"), 80)}"')
    return branch, tag


def _ref_of(ref: str) -> tuple[str | None, str | None]:
    """Branch and tag of a full ref, or of a bare branch name as some clients send it."""
    if ref.startswith("refs/tags/"):
        return None, ref.removeprefix("refs/tags/")
    if ref.startswith("refs/heads/"):
        return ref.removeprefix("refs/heads/"), None
    return (None, None) if ref.startswith("refs/") or not ref else (ref, None)


Reader = Callable[[Event, Payload, Environ], Event]
READERS: dict[str, Reader] = {
    "push": _push,
    "pull_request": _pull_request,
    "pull_request_target": _pull_request,
    "merge_group": _merge_group,
    "schedule": _schedule,
    "workflow_dispatch": _dispatch,
    "workflow_call": _dispatch,
    "repository_dispatch": _repository_dispatch,
    "workflow_run": _workflow_run,
    "issue_comment": _issue_comment,
}
