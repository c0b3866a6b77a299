"""Puts the exact commit, and a person's uncommitted changes if they go along, into a fresh folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci_runner.errors import MachineError
from ci_runner.providers.base import Source
from ci_runner.providers.git import ISOLATED, Git, head_commit, toplevel

# Left out when a folder that is no git repository is copied: what tools make, and what would be copied into itself.
NOT_COPIED = frozenset(
    {
        ".bzr",
        ".ci-runner",
        ".git",
        ".hg",
        ".hypothesis",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        ".venv",
        "__pycache__",
        "node_modules",
        "venv",
    }
)
GITLINK = b"160000"
NAMED = 5  # how many names a note holds

__all__ = ["Staged", "head_commit", "stage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A staged source: the folder that corresponds to the source's root, and what a reader of the report must know."""

    work: str
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Changes:
    """What differs between a commit and the files of a working tree; paths relative to its root."""

    gone: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    untracked: list[str] = field(default_factory=list)
    nested: list[str] = field(
        default_factory=list
    )  # repositories in the repository, which are nobody's changes

    def text(self) -> str:
        counts = (
            (len(self.changed), "changed"),
            (len(self.gone), "deleted"),
            (len(self.untracked), "untracked"),
        )
        return ", ".join(f"{number} {what}" for number, what in counts if number)


def stage(source: Source, target: Path, *, seconds: float) -> Staged:
    """Make the folder `target` with the source in it; the source's repository is only read.

    Raises UsageError if git does not trust the repository, MachineError if the commit cannot be had.
    """
    try:
        return _stage(source, target, seconds)
    except OSError as error:
        what = f"cannot stage the source: {error.strerror or error}"
        raise MachineError(what, where=str(error.filename or target)) from error


def _stage(source: Source, target: Path, seconds: float) -> Staged:
    deadline = time.monotonic() + seconds
    root = Path(source.root).resolve()
    if not root.is_dir():
        raise MachineError("the source folder does not exist", where=str(root))
    top = toplevel(root, deadline) if _may_be_git(root) else None
    if top is None:
        copy_folder(root, target)
        return Staged(work=str(target), notes=("not a git repository: a copy of the folder was tested",))
    if source.commit is None:
        return _stage_files(root, target, deadline)
    notes = _stage_commit(top, target, source.commit, source.with_changes, deadline)
    work = target / root.relative_to(top)
    if not work.is_dir():
        raise MachineError(f"the folder is not part of commit {source.commit[:12]}", where=str(root))
    return Staged(work=str(work), notes=tuple(notes))


def _may_be_git(root: Path) -> bool:
    """Whether asking git makes sense: a machine without git can still test a plain folder."""
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _stage_files(root: Path, target: Path, deadline: float) -> Staged:
    listed = Git(root, deadline).output(
        "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "."
    )
    target.mkdir(parents=True)
    for path in _paths(listed):
        if _is_there(root / path):
            replace(root / path, target, path)
    return Staged(work=str(target), notes=("no commit yet: the files as they are were tested",))


def _stage_commit(top: Path, target: Path, commit: str, with_changes: bool, deadline: float) -> list[str]:
    theirs = Git(top, deadline)
    if theirs.call("cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
        raise MachineError(
            f"commit {commit[:12]} is not in this repository",
            where=str(top),
            fix=f"git fetch origin {commit}",
        )
    ours = make_repository(theirs, target, deadline)
    ours.output("checkout", "--quiet", "--detach", "--force", commit, "--")
    notes = _stage_submodules(top, ours, with_changes, deadline)
    if with_changes:
        changes = find_changes(theirs, commit)
        apply_changes(changes, top, target)
        if changes.text():
            paths = [*changes.changed, *changes.gone, *changes.untracked]
            notes.insert(0, f"with uncommitted changes: {changes.text()} ({_shown(paths)})")
        if changes.nested:
            notes.append(f"repositories inside the repository are left out: {_shown(changes.nested)}")
    return notes


def _shown(paths: Sequence[str]) -> str:
    """The first few paths, fit to be printed."""
    shown = [path if path.isprintable() else ascii(path)[1:-1] for path in paths[:NAMED]]
    return ", ".join([*shown, "…"] if len(paths) > NAMED else shown)


def make_repository(theirs: Git, target: Path, deadline: float) -> Git:
    """A repository that borrows the objects of theirs, with their branches and tags, and no working files yet.

    `git clone --shared` would do much the same; this also works from worktrees and shallow clones, runs none of
    their configuration, and leaves nothing in theirs.
    """
    target.mkdir(parents=True)
    ours = Git(target, deadline, ISOLATED)
    kind, objects, shallow = _places(theirs)
    ours.output("init", "--quiet", "--template=", f"--object-format={kind}")
    inside = target / ".git"
    if not objects.is_absolute():
        objects = theirs.folder / objects
    (inside / "objects" / "info").mkdir(parents=True, exist_ok=True)
    (inside / "objects" / "info" / "alternates").write_bytes(os.fsencode(_quoted(objects.resolve())) + b"\n")
    shallow = shallow if shallow.is_absolute() else theirs.folder / shallow
    if shallow.is_file():
        shutil.copyfile(shallow, inside / "shallow")
    refs = theirs.output(
        "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags", "refs/remotes"
    )
    lines = [line for line in refs.splitlines() if not line.endswith(b"/HEAD")]
    (inside / "packed-refs").write_bytes(b"".join(line + b"\n" for line in lines))
    settings = {
        "core.hooksPath": os.devnull,
        "gc.auto": "0",
        "checkout.workers": "0",
        "advice.detachedHead": "false",
    }
    settings |= _lfs_settings(theirs)
    settings |= _promisor_settings(theirs)
    with (inside / "config").open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(config_text(settings))
    return ours


def _places(theirs: Git) -> tuple[str, Path, Path]:
    """The kind of hashes of a repository, and where its objects and its list of shallow commits are."""
    asked = (("--show-object-format",), ("--git-path", "objects"), ("--git-path", "shallow"))
    lines = theirs.text("rev-parse", *(word for words in asked for word in words)).split("\n")
    if len(lines) != len(asked):  # a folder with a line break in its name
        lines = [theirs.text("rev-parse", *words) for words in asked]
    return lines[0], Path(lines[1]), Path(lines[2])


def config_text(settings: Mapping[str, str]) -> str:
    """Settings as git's configuration has them; one process for each would take longer than the checkout."""
    text = ""
    for name, value in settings.items():
        section, _, rest = name.partition(".")
        subsection, dot, key = rest.rpartition(".")
        title = f'{section} "{_escaped(subsection)}"' if dot else section
        text += f'[{title}]\n\t{key} = "{_escaped(value)}"\n'
    return text


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def _quoted(path: Path) -> str:
    """A path as objects/info/alternates wants it: in quotes if it could be taken for something else."""
    text = str(path)
    if text.startswith(('"', "#")) or "\n" in text:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return text


def _lfs_settings(theirs: Git) -> dict[str, str]:
    """Large files come from the person's own store, and only if git-lfs is set up for that repository."""
    smudge = theirs.call("config", "--get", "filter.lfs.smudge")
    if smudge.returncode != 0:
        return {}
    common = Path(theirs.text("rev-parse", "--git-common-dir"))
    store = (common if common.is_absolute() else theirs.folder / common) / "lfs"
    return {
        "filter.lfs.smudge": "git-lfs smudge -- %f",
        "filter.lfs.clean": "git-lfs clean -- %f",
        "lfs.storage": str(store.resolve()),
        "lfs.skipdownloaderrors": "true",
    }


def _promisor_settings(theirs: Git) -> dict[str, str]:
    """A partial clone lacks objects that its remote promised: ours must know whom to ask."""
    found = theirs.call(
        "config",
        "--get-regexp",
        r"^(remote\..*\.(url|promisor|partialclonefilter)|extensions\.partialclone)$",
    )
    pairs = [line.partition(" ") for line in os.fsdecode(found.stdout).splitlines()]
    values = {name: value for name, _, value in pairs}
    return values if any(name.endswith(".promisor") for name in values) else {}


def _stage_submodules(top: Path, ours: Git, with_changes: bool, deadline: float) -> list[str]:
    """Check out the submodules that the person has here; a note names the others."""
    if not (ours.folder / ".gitmodules").is_file():
        return []
    missing, notes = [], []
    for entry in ours.output("ls-files", "--stage", "-z").split(b"\0"):
        mode, _, rest = entry.partition(b" ")
        if mode != GITLINK:
            continue
        commit, path = os.fsdecode(rest[: rest.index(b" ")]), os.fsdecode(entry.partition(b"\t")[2])
        place = ours.folder / path
        if (top / path / ".git").exists() and not place.is_symlink() and _has(top / path, commit, deadline):
            place.rmdir()
            notes += _stage_commit(top / path, place, commit, with_changes, deadline)
        else:
            missing.append(path)
    if missing:
        notes.append(f"submodules that are not checked out here are empty: {_shown(missing)}")
    return notes


def _has(repository: Path, commit: str, deadline: float) -> bool:
    return Git(repository, deadline).call("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def find_changes(theirs: Git, commit: str) -> _Changes:
    """What the working tree has that the commit has not; staged or not makes no difference."""
    changes = _Changes()
    words = theirs.output(
        "diff",
        "--name-status",
        "--no-color",
        "--no-renames",
        "--no-ext-diff",
        "--ignore-submodules=all",
        "-z",
        commit,
        "--",
    ).split(b"\0")
    for path in dict.fromkeys(map(os.fsdecode, words[1::2])):
        # A path that only the index has lost is still there; the next list then has it again, as untracked.
        (changes.changed if _is_there(theirs.folder / path) else changes.gone).append(path)
    tracked = set(changes.changed)
    for path in _paths(theirs.output("ls-files", "--others", "--exclude-standard", "-z")):
        if path.endswith("/"):
            changes.nested.append(path)
        elif path not in tracked:
            changes.untracked.append(path)
    return changes


def _is_there(path: Path) -> bool:
    """Whether a path is something that git would track: a file or a link."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def apply_changes(changes: _Changes, top: Path, target: Path) -> None:
    """Make the checked-out files equal to the person's."""
    for path in changes.gone:
        _remove(target / path)
    for path in [*changes.changed, *changes.untracked]:
        with contextlib.suppress(FileNotFoundError):  # an editor's file that was gone when we came for it
            replace(top / path, target, path)


def replace(original: Path, target: Path, path: str) -> None:
    """Put a copy of one file or link at `target/path`, whatever stands there, never through a link."""
    folder = target
    for part in Path(path).parent.parts:
        folder = folder / part
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            folder.unlink()
        folder.mkdir(exist_ok=True)
    mode = original.lstat().st_mode
    place = target / path
    if stat.S_ISLNK(mode):
        _remove(place)
        place.symlink_to(original.readlink())
    elif stat.S_ISREG(mode):
        _remove(place)
        shutil.copyfile(original, place)
        place.chmod(stat.S_IMODE(mode) | stat.S_IRUSR | stat.S_IWUSR)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def copy_folder(root: Path, target: Path) -> None:
    """Copy a folder without what tools made; links stay links, and pipes and sockets stay behind."""
    avoid = target.resolve()

    def ignore(folder: str, names: list[str]) -> Iterable[str]:
        return [name for name in names if not _is_copied(Path(folder, name), avoid)]

    try:
        shutil.copytree(root, target, symlinks=True, ignore=ignore)
    except shutil.Error as error:
        first = error.args[0][0]
        raise MachineError(f"cannot copy the folder: {first[2]}", where=str(first[0])) from error
    except OSError as error:
        raise MachineError(f"cannot copy the folder: {error.strerror}", where=str(error.filename)) from error


def _is_copied(path: Path, avoid: Path) -> bool:
    mode = path.lstat().st_mode
    if not stat.S_ISDIR(mode):
        return stat.S_ISREG(mode) or stat.S_ISLNK(mode)
    if path.name in NOT_COPIED or (path / "pyvenv.cfg").is_file():
        return False
    return not avoid.is_relative_to(path.resolve())


def _paths(listed: bytes) -> list[str]:
    return [os.fsdecode(path) for path in listed.split(b"\0") if path]
