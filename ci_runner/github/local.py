"""The event of a person at the keyboard, and what changed according to git."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ci_runner.errors import EventError
from ci_runner.github.changes import parse_changed_files
from ci_runner.github.payload import clean, is_commit
from ci_runner.model import ChangedFile, ChangeKind, Event
from ci_runner.providers.git import HIDDEN, READ_ONLY

SECONDS = 60.0  # for one question; a repository of a million files answers in a few
Git = Callable[[Sequence[str]], "bytes | None"]  # arguments → what git printed; None if it said no


def git_at(root: Path) -> Git:
    """A way to ask git about the repository around a folder."""
    environ = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    environ |= {**READ_ONLY, "LC_ALL": "C"}

    def ask(arguments: Sequence[str]) -> bytes | None:
        command = [
            "git",
            "-C",
            str(root),
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.quotePath=false",
            *arguments,
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                check=False,
                env=environ,
                stdin=subprocess.DEVNULL,
                timeout=SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None  # no git here, or one that hangs: what changed is then unknown, and more is run
        return done.stdout if done.returncode == 0 else None

    return ask


def local_event(root: Path, *, default_branch: str = "main", git: Git | None = None) -> Event:
    """The event of kind "local": branch, commit, and all that differs from where the default branch was left.

    Uncommitted and new files count. `changed_files` is None, with a note, if git cannot tell.
    """
    git = git or git_at(root)
    commit = _line(git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]))
    event = Event(
        kind="local",
        repository=_repository(_line(git(["config", "--get", "remote.origin.url"]))),
        branch=_line(git(["symbolic-ref", "--quiet", "--short", "HEAD"])),
        commit=commit,
        default_branch=default_branch,
        base_branch=default_branch,
    )
    if commit is None:
        inside = git(["rev-parse", "--is-inside-work-tree"]) is not None
        note = "no commit yet" if inside else "not a git repository, or git cannot read it"
        return dataclasses.replace(event, changed_files_note=note)
    default = _default_ref(git, default_branch)
    if default is None:
        return dataclasses.replace(
            event, changed_files_note=f"git knows no default branch (no {default_branch}, no origin/HEAD)"
        )
    base = _line(git(["merge-base", default, commit]))
    if base is None:
        return dataclasses.replace(event, changed_files_note=_no_base(git, "the default branch"))
    files = _difference(git, [base], untracked=True)
    if files is None:
        return dataclasses.replace(event, base_commit=base, changed_files_note="git diff failed")
    return dataclasses.replace(event, base_commit=base, changed_files=files)


def with_git_changes(event: Event, root: Path, *, git: Git | None = None) -> Event:
    """The event with what changed between its base and its commit, if the clone here has both."""
    if event.changed_files is not None or event.commit is None or event.base_commit is None:
        return event
    git = git or git_at(root)
    commits = (event.base_commit, event.commit)
    if not all(is_commit(commit) for commit in commits):
        raise EventError("base and head of the event are no commit SHAs", fix="save the event again")
    if any(git(["cat-file", "-e", f"{commit}^{{commit}}"]) is None for commit in commits):
        note = (
            f"{event.changed_files_note or 'changed files are unknown'}, and the clone here lacks its commits"
        )
        return dataclasses.replace(event, changed_files_note=f"{note} (fetch-depth: 0 brings them)")
    # A push is compared with what was there before; a pull request with where it left its base.
    base = event.base_commit if event.kind == "push" else _line(git(["merge-base", *commits]))
    if base is None:
        return dataclasses.replace(event, changed_files_note=_no_base(git, "the base"))
    files = _difference(git, [base, event.commit], untracked=False)
    if files is None:
        return dataclasses.replace(event, changed_files_note="git diff failed")
    return dataclasses.replace(event, changed_files=files, changed_files_note=None)


def _difference(git: Git, commits: Sequence[str], *, untracked: bool) -> tuple[ChangedFile, ...] | None:
    """What differs below the folder that git was asked in; None if git fails."""
    listed = git(["diff", "--no-ext-diff", "--name-status", "-z", "-M", "--relative", *commits, "--"])
    fresh = git(["ls-files", "--others", "--exclude-standard", "-z"]) if untracked else b""
    if listed is None or fresh is None:
        return None
    files = list(parse_changed_files(listed, "git diff")) if listed else []
    names = [clean(name.decode("utf-8", "replace")) for name in fresh.split(b"\0") if name]
    files += [ChangedFile(path=name, kind=ChangeKind.ADDED) for name in names]
    return tuple(sorted(files, key=lambda file: (file.path, file.previous_path or "")))


def _default_ref(git: Git, default_branch: str) -> str | None:
    """The default branch as the remote has it, else as it is here; None if there is none."""
    head = _line(git(["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"]))
    named = [f"refs/remotes/origin/{default_branch}", f"refs/heads/{default_branch}"]
    for ref in (*named, *([head] if head else [])):
        if git(["rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"]) is not None:
            return ref
    return None


def _no_base(git: Git, what: str) -> str:
    if _line(git(["rev-parse", "--is-shallow-repository"])) == "true":
        return f"the clone is shallow and has no common commit with {what} (git fetch --unshallow, or fetch-depth: 0)"
    return f"there is no common commit with {what}"


def _line(output: bytes | None) -> str | None:
    """The one line of an answer; None for none."""
    return clean(output.decode("utf-8", "replace")).strip() or None if output is not None else None


def _repository(url: str | None) -> str | None:
    """`owner/name` of a remote's address; whatever else stands in it, such as a password, is left there."""
    if url is None or ("://" not in url and "@" not in url):
        return None  # a folder
    found = re.search(r"[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", url, re.ASCII)
    return found[1] if found else None
