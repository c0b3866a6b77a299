"""`ci-runner init`: a commented configuration and a workflow for this repository."""

from __future__ import annotations

import errno
import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ci_runner.github.local import Git

EXAMPLE = "ci-runner init --dry-run"
CONFIGURATION = "ci-runner.toml"
WORKFLOW = ".github/workflows/ci-runner.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """What there is to write, and what to say about it."""

    root: Path
    branch: str
    suites: tuple[str, ...]
    files: Mapping[str, str]  # path below root → text
    notes: tuple[str, ...] = ()


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `init`."""
    parser.add_argument("--force", action="store_true", help="replace files that are there already")
    parser.add_argument(
        "--here", action="store_true", help="write into this folder, not at the top of the repository"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the files and write nothing")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: nothing but one object on stdout"
    )


def run(arguments: Namespace) -> int:
    """Look at the repository, write the files, say what to do next."""
    found = starter(Path.cwd(), here=arguments.here)
    there = [name for name in found.files if os.path.lexists(found.root / name)]
    if not arguments.dry_run:
        write(found, there, force=arguments.force)
    if arguments.format == "json":
        print(json.dumps(_object(found, there, written=not arguments.dry_run), indent=2))
    elif arguments.dry_run:
        print("\n".join(_shown(found, there)))
    else:
        print("\n".join(_told(found)))
    return 0


def starter(folder: Path, *, here: bool) -> Starter:
    """The files for the repository around a folder, or for the folder itself."""
    from ci_runner.config.detect import detected_suites, missing_pieces
    from ci_runner.config.places import top_of
    from ci_runner.config.starter import configuration_text, workflow_text
    from ci_runner.github import local

    top = top_of(folder)
    root = folder if here else top
    suites = detected_suites(root)
    branch = default_branch(local.git_at(top))
    files = {CONFIGURATION: configuration_text(root.name, branch, suites)}
    notes = missing_pieces(root, suites)
    if root == top:
        files[WORKFLOW] = workflow_text(branch, root, suites)
    else:
        path = (root / CONFIGURATION).relative_to(top).as_posix()
        notes.append(
            f"no workflow: GitHub reads those at the top of a repository alone; from there: ci-runner run --config {path}"
        )
    return Starter(
        root=root,
        branch=branch,
        suites=tuple(suite.name for suite in suites),
        files=files,
        notes=tuple(notes),
    )


def default_branch(git: Git) -> str:
    """The branch that the remote calls its own, else the current one, else main."""
    for ref, prefix in (("refs/remotes/origin/HEAD", "refs/remotes/origin/"), ("HEAD", "refs/heads/")):
        name = (git(["symbolic-ref", "--quiet", ref]) or b"").decode("utf-8", "replace").strip()
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return "main"


def write(found: Starter, there: Sequence[str], *, force: bool) -> None:
    """Write all files or none of them. Raises UsageError if one is there already or cannot be written."""
    from contextlib import ExitStack

    from ci_runner.errors import UsageError
    from ci_runner.github.commands import one_line

    where = one_line(str(found.root))
    if there and not force:
        raise UsageError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already",
            where=where,
            fix="add --force to replace, or --dry-run to look at what would be written",
        )
    name = ""
    kept: list[Path] = []
    try:
        with ExitStack() as undo:
            for name, text in found.files.items():
                kept += _put(found.root / name, text.encode(), undo, replace=force)
            undo.pop_all()  # all are written: nothing is to be undone
    except OSError as error:
        changed = [name for name in found.files if os.path.lexists(found.root / name) != (name in there)]
        raise UsageError(
            f"cannot write {name}: {error.strerror or error}",
            where=where,
            fix="check what is there and who owns it; "
            + (f"look at {' and '.join(changed)} too" if changed else "nothing was written"),
        ) from error
    for path in kept:
        path.unlink(missing_ok=True)


def _put(path: Path, data: bytes, undo: ExitStack, *, replace: bool) -> list[Path]:
    """Write one file, and say how it is undone; what was there waits under the names that are returned."""
    for folder in reversed([folder for folder in path.parents if not os.path.lexists(folder)]):
        folder.mkdir()
        undo.callback(folder.rmdir)
    kept = []
    if replace and os.path.lexists(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        path.rename(old)
        undo.callback(old.rename, path)
        kept.append(old)
    with path.open("xb") as file:  # what has appeared since somebody looked stays, and links are not followed
        undo.callback(path.unlink)
        file.write(data)
    return kept


def _object(found: Starter, there: Sequence[str], *, written: bool) -> dict[str, object]:
    return {
        "root": str(found.root),
        "default_branch": found.branch,
        "suites": list(found.suites),
        "written": written,
        "there_already": list(there),
        "notes": list(found.notes),
        "files": dict(found.files),
    }


def _shown(found: Starter, there: Sequence[str]) -> list[str]:
    """The files as they would be written."""
    lines = []
    for name, text in found.files.items():
        lines += [f"# ---- {name}{' (there already; --force replaces it)' if name in there else ''}", text]
    return [*lines, *_noted(found)]


def _told(found: Starter) -> list[str]:
    """What was written, and what to do next."""
    from ci_runner.github.commands import one_line

    lines = [f"wrote {name}" for name in found.files]
    names = f"suite{'s' * (len(found.suites) > 1)} {', '.join(found.suites)}"
    suites = f"found {names}" if found.suites else "found nothing that looks like tests"
    lines += [f"{suites}; default branch {one_line(found.branch)}", *_noted(found)]
    if found.suites:
        return [*lines, "next: ci-runner run"]
    return [
        *lines,
        f"next: write a suite into {CONFIGURATION}, where one stands as a comment; then ci-runner run",
    ]


def _noted(found: Starter) -> list[str]:
    from ci_runner.github.commands import one_line

    return [f"note: {one_line(note)}" for note in found.notes]
