"""What changed, according to a git that answers from a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ci_runner.errors import EventError
from ci_runner.github.event import event_from_payload
from ci_runner.github.local import local_event, with_git_changes
from ci_runner.model import ChangedFile, ChangeKind, Event

HEAD, BASE, FORK = "1" * 40, "2" * 40, "3" * 40
ROOT = Path("/nowhere")
Answers = dict[str, "bytes | None"]

USUAL: Answers = {
    "rev-parse --verify --quiet HEAD^{commit}": f"{HEAD}\n".encode(),
    "config --get remote.origin.url": b"git@example.org:octo/kpt.git\n",
    "symbolic-ref --quiet --short HEAD": b"topic\n",
    "symbolic-ref --quiet refs/remotes/origin/HEAD": None,
    "rev-parse --verify --quiet refs/remotes/origin/main^{commit}": b"x\n",
    f"merge-base refs/remotes/origin/main {HEAD}": f"{BASE}\n".encode(),
    f"diff --no-ext-diff --name-status -z -M --relative {BASE} --": b"M\0a.py\0R090\0old.py\0new.py\0",
    "ls-files --others --exclude-standard -z": b"fresh \xff.py\0",
}


def told(table: Answers) -> Callable[[Sequence[str]], bytes | None]:
    """A git that knows the usual answers and these; a question it does not know is refused, as git does."""
    return lambda words: (USUAL | table).get(" ".join(words))


def test_a_persons_event_holds_branch_commit_repository_and_everything_that_differs() -> None:
    event = local_event(ROOT, git=told({}))
    assert (event.kind, event.branch, event.commit, event.repository) == ("local", "topic", HEAD, "octo/kpt")
    assert (event.base_branch, event.base_commit, event.changed_files_note) == ("main", BASE, None)
    assert event.changed_files is not None
    assert [(file.path, file.kind) for file in event.changed_files] == [
        ("a.py", ChangeKind.MODIFIED),
        ("fresh \ufffd.py", ChangeKind.ADDED),
        ("new.py", ChangeKind.RENAMED),
    ]
    assert event.changed_files[2].previous_path == "old.py"


@pytest.mark.parametrize(
    ("table", "note"),
    [
        (
            {
                "rev-parse --verify --quiet HEAD^{commit}": None,
                "rev-parse --is-inside-work-tree": b"true\n",
            },
            "no commit yet",
        ),
        (
            {"rev-parse --verify --quiet HEAD^{commit}": None},
            "not a git repository, or git cannot read it",
        ),
        (
            {"rev-parse --verify --quiet refs/remotes/origin/main^{commit}": None},
            "git knows no default branch (no main, no origin/HEAD)",
        ),
        (
            {f"merge-base refs/remotes/origin/main {HEAD}": None},
            "there is no common commit with the default branch",
        ),
        (
            {
                f"merge-base refs/remotes/origin/main {HEAD}": b"\n",
                "rev-parse --is-shallow-repository": b"true\n",
            },
            "the clone is shallow and has no common commit with the default branch "
            "(git fetch --unshallow, or fetch-depth: 0)",
        ),
        ({f"diff --no-ext-diff --name-status -z -M --relative {BASE} --": None}, "git diff failed"),
        ({"ls-files --others --exclude-standard -z": None}, "git diff failed"),
    ],
)
def test_what_git_cannot_tell_is_unknown_and_not_nothing(table: Answers, note: str) -> None:
    event = local_event(ROOT, git=told(table))
    assert event.changed_files is None
    assert event.changed_files_note == note


def test_no_change_is_an_empty_list() -> None:
    table: Answers = {
        f"diff --no-ext-diff --name-status -z -M --relative {BASE} --": b"",
        "ls-files --others --exclude-standard -z": b"",
    }
    assert local_event(ROOT, git=told(table)).changed_files == ()


@pytest.mark.parametrize(
    ("there", "used"),
    [
        ({"refs/remotes/origin/trunk", "refs/heads/trunk"}, "refs/remotes/origin/trunk"),
        ({"refs/heads/trunk", "refs/remotes/origin/old"}, "refs/heads/trunk"),
        ({"refs/remotes/origin/old"}, "refs/remotes/origin/old"),
    ],
)
def test_the_default_branch_of_the_remote_is_nearest(there: set[str], used: str) -> None:
    table: Answers = {
        "symbolic-ref --quiet refs/remotes/origin/HEAD": b"refs/remotes/origin/old\n",
        **{f"rev-parse --verify --quiet {ref}^{{commit}}": b"x\n" for ref in there},
        f"merge-base {used} {HEAD}": f"{BASE}\n".encode(),
    }
    assert local_event(ROOT, default_branch="trunk", git=told(table)).base_commit == BASE


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://github.com/octo/kpt", "octo/kpt"),
        ("https://user:secret@github.com/octo/kpt.git/", "octo/kpt"),
        ("ssh://git@example.org:2222/octo/kpt.git", "octo/kpt"),
        ("git@example.org:octo/k.p-t_1.git", "octo/k.p-t_1"),
        ("/srv/git/kpt.git", None),
        ("../kpt", None),
        ("https://example.org/", None),
        ("", None),
    ],
)
def test_the_repositorys_name_comes_without_what_else_is_in_its_address(url: str, name: str | None) -> None:
    event = local_event(ROOT, git=told({"config --get remote.origin.url": f"{url}\n".encode()}))
    assert event.repository == name


# -- what a payload does not list


def ours(event: Event, table: Answers) -> Event:
    known: Answers = {f"cat-file -e {commit}^{{commit}}": b"" for commit in (HEAD, BASE)}
    return with_git_changes(event, ROOT, git=lambda words: (known | table).get(" ".join(words)))


def event(kind: str = "push", **values: object) -> Event:
    known = {"commit": HEAD, "base_commit": BASE, **values}
    return Event(kind=kind, **known)  # type: ignore[arg-type]


def test_a_push_is_compared_with_what_was_there_before() -> None:
    asked: Answers = {f"diff --no-ext-diff --name-status -z -M --relative {BASE} {HEAD} --": b"D\0gone.py\0"}
    found = ours(event(changed_files_note="too many"), asked)
    assert found.changed_files == (ChangedFile(path="gone.py", kind=ChangeKind.REMOVED),)
    assert found.changed_files_note is None


def test_a_pull_request_is_compared_with_where_it_left_its_base() -> None:
    asked: Answers = {
        f"merge-base {BASE} {HEAD}": f"{FORK}\n".encode(),
        f"diff --no-ext-diff --name-status -z -M --relative {FORK} {HEAD} --": b"A\0new.py\0",
    }
    found = ours(event("pull_request"), asked)
    assert found.changed_files == (ChangedFile(path="new.py", kind=ChangeKind.ADDED),)


@pytest.mark.parametrize(
    ("table", "kind", "note"),
    [
        (
            {f"cat-file -e {BASE}^{{commit}}": None},
            "push",
            "changed files are unknown, and the clone here lacks its commits (fetch-depth: 0 brings them)",
        ),
        ({}, "pull_request", "there is no common commit with the base"),
        ({}, "push", "git diff failed"),
    ],
)
def test_what_the_clone_cannot_tell_stays_unknown(table: Answers, kind: str, note: str) -> None:
    found = ours(event(kind), table)
    assert (found.changed_files, found.changed_files_note) == (None, note)


@pytest.mark.parametrize(
    "known", [event(changed_files=()), event(commit=None), event(base_commit=None)], ids=["listed", "a", "b"]
)
def test_git_is_not_asked_what_is_known_or_cannot_be(known: Event) -> None:
    def asked(words: Sequence[str]) -> bytes | None:
        raise AssertionError(f"git was asked: {words}")

    assert with_git_changes(known, ROOT, git=asked) is known


def test_a_commit_that_is_an_option_never_reaches_git() -> None:
    with pytest.raises(EventError, match="no commit SHAs"):
        ours(event(commit="--output=/tmp/x"), {})


def test_a_push_without_a_payload_is_known_by_its_environment() -> None:
    """Runners on a developer's machine give an empty payload unless they are given one."""
    environ = {"GITHUB_SHA": "a" * 40, "GITHUB_REF": "refs/heads/topic", "GITHUB_REPOSITORY": "org/kpt"}
    event = event_from_payload("push", {}, environ=environ)
    assert (event.branch, event.commit, event.changed_files) == ("topic", "a" * 40, None)
    with pytest.raises(EventError, match="ref is missing"):
        event_from_payload("push", {})
