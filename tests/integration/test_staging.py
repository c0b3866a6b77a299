"""Staging: what is tested is the exact commit, or the commit with a person's changes, from every kind of repository."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from ci_runner.errors import MachineError, UsageError
from ci_runner.providers import git as git_module
from ci_runner.providers.base import Source
from ci_runner.providers.staging import Staged, head_commit, stage
from tests.job_kit import git, make_repository


def put(root: Path, commit: str | None, target: Path, *, with_changes: bool = False) -> Staged:
    return stage(Source(root=str(root), commit=commit, with_changes=with_changes), target, seconds=60)


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, with what it holds."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "a repo, größer"
    make_repository(
        root, {"a.txt": "one\n", "sub/b.txt": "two\n", "run.sh": "#!/bin/sh\n", ".gitignore": "*.log\n"}
    )
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("a.txt")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "second")
    git(root, "tag", "--annotate", "v1.0", "--message", "one")
    return root


def test_the_exact_commit_is_staged_and_nothing_written_to_the_repository(repo: Path, tmp_path: Path) -> None:
    commit = head_commit(repo)
    (repo / "a.txt").write_text("changed\n")
    (repo / "new.txt").write_text("new\n")
    before = snapshot(repo)
    staged = put(repo, commit, tmp_path / "work")
    work = Path(staged.work)
    assert snapshot(repo) == before
    assert staged.notes == ()
    assert (work / "a.txt").read_text() == "one\n"
    assert not (work / "new.txt").exists()
    assert (work / "link").readlink() == Path("a.txt")
    assert (work / "run.sh").stat().st_mode & stat.S_IXUSR
    assert git(work, "rev-parse", "HEAD") == commit
    assert git(work, "status", "--porcelain") == ""
    assert git(work, "describe") == "v1.0"
    assert git(work, "rev-parse", "main", "v1.0^{commit}").split() == [commit, commit]


def test_an_older_commit_is_staged_as_it_was(repo: Path, tmp_path: Path) -> None:
    first = git(repo, "rev-parse", "HEAD~1")
    put(repo, first, tmp_path / "work")
    assert not (tmp_path / "work" / "link").is_symlink()
    assert git(tmp_path / "work", "rev-parse", "HEAD") == first


def test_uncommitted_changes_go_along_and_are_named(repo: Path, tmp_path: Path) -> None:
    (repo / "a.txt").write_bytes(b"\x00\xffbinary")
    (repo / "sub" / "b.txt").unlink()
    (repo / "run.sh").chmod(0o644)
    (repo / "staged.txt").write_text("staged\n")
    git(repo, "add", "staged.txt")
    (repo / "new dir").mkdir()
    (repo / "new dir" / "größe\n.txt").write_text("untracked\n")
    (repo / "build.log").write_text("ignored\n")
    (repo / "link").unlink()
    (repo / "link").symlink_to("sub")
    staged = put(repo, head_commit(repo), tmp_path / "work", with_changes=True)
    work = Path(staged.work)
    assert (work / "a.txt").read_bytes() == b"\x00\xffbinary"
    assert not (work / "sub" / "b.txt").exists()
    assert not (work / "run.sh").stat().st_mode & stat.S_IXUSR
    assert (work / "staged.txt").read_text() == "staged\n"
    assert (work / "new dir" / "größe\n.txt").read_text() == "untracked\n"
    assert (work / "link").readlink() == Path("sub")
    assert not (work / "build.log").exists()
    (note,) = staged.notes
    assert note.startswith("with uncommitted changes: 4 changed, 1 deleted, 1 untracked (")
    assert "\n" not in note


def test_a_clean_tree_has_no_note(repo: Path, tmp_path: Path) -> None:
    assert put(repo, head_commit(repo), tmp_path / "work", with_changes=True).notes == ()


def test_a_file_that_only_the_index_lost_goes_along(repo: Path, tmp_path: Path) -> None:
    git(repo, "rm", "--cached", "--quiet", "a.txt")
    (repo / "a.txt").write_text("mine\n")
    put(repo, head_commit(repo), tmp_path / "work", with_changes=True)
    assert (tmp_path / "work" / "a.txt").read_text() == "mine\n"


def test_files_and_folders_may_have_changed_places(repo: Path, tmp_path: Path) -> None:
    (repo / "a.txt").unlink()
    (repo / "a.txt").mkdir()
    (repo / "a.txt" / "inside").write_text("x")
    (repo / "sub" / "b.txt").unlink()
    (repo / "sub").rmdir()
    (repo / "sub").write_text("a file now")
    work = Path(put(repo, head_commit(repo), tmp_path / "work", with_changes=True).work)
    assert (work / "a.txt" / "inside").read_text() == "x"
    assert (work / "sub").read_text() == "a file now"


def test_nothing_is_written_through_a_link_of_the_commit(repo: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (repo / "out").symlink_to(outside)
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "a link")
    (repo / "out").unlink()
    (repo / "out").mkdir()
    (repo / "out" / "file").write_text("x")
    work = Path(put(repo, head_commit(repo), tmp_path / "work", with_changes=True).work)
    assert (work / "out" / "file").read_text() == "x"
    assert not (work / "out").is_symlink()
    assert list(outside.iterdir()) == []


def test_a_repository_inside_is_left_out_and_named(repo: Path, tmp_path: Path) -> None:
    make_repository(repo / "nested")
    staged = put(repo, head_commit(repo), tmp_path / "work", with_changes=True)
    assert staged.notes == ("repositories inside the repository are left out: nested/",)


def test_a_root_below_the_top_is_staged_with_all_around_it(repo: Path, tmp_path: Path) -> None:
    staged = put(repo / "sub", head_commit(repo / "sub"), tmp_path / "work")
    assert staged.work == str(tmp_path / "work" / "sub")
    assert (tmp_path / "work" / "a.txt").exists()


def test_a_root_that_the_commit_does_not_have_is_an_error(repo: Path, tmp_path: Path) -> None:
    (repo / "later").mkdir()
    with pytest.raises(MachineError, match="the folder is not part of commit"):
        put(repo / "later", head_commit(repo), tmp_path / "work")


def test_a_worktree_and_a_shallow_clone_are_repositories_like_others(repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", str(tmp_path / "shallow"))
    for name in ("tree", "shallow"):
        (tmp_path / name / "a.txt").write_text(name)
        staged = put(
            tmp_path / name, head_commit(tmp_path / name), tmp_path / f"work-{name}", with_changes=True
        )
        assert Path(staged.work, "a.txt").read_text() == name
        assert git(Path(staged.work), "log", "--format=%s", "-1") == "second"
    assert git(tmp_path / "work-shallow", "rev-list", "--count", "HEAD") == "1"


def test_a_commit_that_is_not_here_says_how_to_get_it(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="commit 012345678901 is not in this repository") as caught:
        put(repo, "0123456789" * 4, tmp_path / "work")
    assert caught.value.fix == f"git fetch origin {'0123456789' * 4}"


def test_submodules_come_from_here_or_are_named(repo: Path, tmp_path: Path) -> None:
    make_repository(tmp_path / "library", {"lib.txt": "lib\n"})
    for name in ("here", "elsewhere"):
        git(repo, "submodule", "--quiet", "add", str(tmp_path / "library"), name)
    git(repo, "commit", "--quiet", "--message", "submodules")
    shutil.rmtree(repo / "elsewhere")
    (repo / "elsewhere").mkdir()
    (repo / "here" / "lib.txt").write_text("changed\n")
    staged = put(repo, head_commit(repo), tmp_path / "work", with_changes=True)
    work = Path(staged.work)
    assert (work / "here" / "lib.txt").read_text() == "changed\n"
    assert list((work / "elsewhere").iterdir()) == []
    assert staged.notes == (
        "with uncommitted changes: 1 changed (lib.txt)",
        "submodules that are not checked out here are empty: elsewhere",
    )


def test_hooks_and_filters_of_the_repository_do_not_run(repo: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hook = repo / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch '{marker}'\n")
    hook.chmod(0o755)
    (repo / ".gitattributes").write_text("*.txt filter=evil\n")
    git(repo, "add", ".gitattributes")
    git(repo, "commit", "--quiet", "--message", "filter")
    git(repo, "config", "filter.evil.smudge", f"touch '{marker}'; cat")
    put(repo, head_commit(repo), tmp_path / "work")
    assert not marker.exists()
    assert (tmp_path / "work" / "a.txt").read_text() == "one\n"


def test_large_files_come_from_the_persons_own_store(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git-lfs").write_text(
        '#!/bin/sh\ncat >/dev/null\necho "large, from $(git config lfs.storage)"\n'
    )
    (tools / "git-lfs").chmod(0o755)
    (repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repo / "big.bin").write_text("pointer\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "large")
    git(repo, "config", "filter.lfs.smudge", "git-lfs smudge -- %f")
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    put(repo, head_commit(repo), tmp_path / "work")
    assert (tmp_path / "work" / "big.bin").read_text() == f"large, from {repo / '.git' / 'lfs'}\n"


def test_a_partial_clone_knows_whom_to_ask_for_the_rest(repo: Path, tmp_path: Path) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    words = (
        "clone",
        "--quiet",
        "--no-checkout",
        "--filter=blob:none",
        f"file://{repo}",
        str(tmp_path / "partial"),
    )
    git(tmp_path, *words)
    put(tmp_path / "partial", git(repo, "rev-parse", "HEAD"), tmp_path / "work")
    assert (tmp_path / "work" / "a.txt").read_text() == "one\n"


def test_the_environment_of_a_hook_does_not_mislead(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(tmp_path / "other", {"other.txt": "x\n"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / ".git" / "index"))
    commit = head_commit(repo)
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    put(repo, commit, tmp_path / "work", with_changes=True)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == [
        ".git",
        ".gitignore",
        "a.txt",
        "link",
        "run.sh",
        "sub",
    ]


def test_without_git_the_folder_is_copied(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    for name in (
        "a.txt",
        ".venv/x",
        "env/pyvenv.cfg",
        "node_modules/x",
        "src/.ci-runner/x",
        "src/b.txt",
        "work/x",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "link").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    assert head_commit(root) is None
    staged = put(root, None, root / "leases" / "x" / "work")
    assert sorted(str(path.relative_to(staged.work)) for path in Path(staged.work).rglob("*")) == [
        "a.txt",
        "link",
        "src",
        "src/b.txt",
        "work",
        "work/x",
    ]
    assert staged.notes == ("not a git repository: a copy of the folder was tested",)


def test_before_the_first_commit_the_files_are_staged(tmp_path: Path) -> None:
    root = tmp_path / "young"
    root.mkdir()
    git(root, "init", "--quiet")
    (root / ".gitignore").write_text("*.log\n")
    (root / "x.log").write_text("")
    (root / "deep").mkdir()
    (root / "deep" / "a.txt").write_text("x")
    assert head_commit(root) is None
    staged = put(root, None, tmp_path / "work")
    assert sorted(path.name for path in (tmp_path / "work").rglob("*")) == [".gitignore", "a.txt", "deep"]
    assert staged.notes == ("no commit yet: the files as they are were tested",)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="the source folder does not exist"):
        put(tmp_path / "none", None, tmp_path / "work")


def test_a_place_that_cannot_be_written_is_an_error(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot stage the source"):
        put(repo, head_commit(repo), tmp_path / "file" / "work")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a repository away needs root")
def test_a_repository_of_somebody_else_says_how_to_trust_it(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    commit = head_commit(repo)
    for path in (repo, repo / ".git"):
        os.chown(path, 12345, 12345)
    monkeypatch.delenv("SUDO_UID", raising=False)
    for call in (lambda: head_commit(repo), lambda: put(repo, commit, tmp_path / "work")):
        with pytest.raises(UsageError, match="does not trust") as caught:
            call()
        assert caught.value.fix == f"if you trust it: git config --global --add safe.directory '{repo}'"


def test_a_machine_without_git_says_so_only_where_it_matters(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert head_commit(repo) is None
    assert put(tmp_path / "plain", None, tmp_path / "work").notes != ()
    with pytest.raises(MachineError, match="git is not installed"):
        put(repo, None, tmp_path / "work2")


def test_git_that_takes_too_long_is_stopped(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 300\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MachineError, match="git rev-parse did not end in time"):
        stage(Source(root=str(repo), commit="x"), tmp_path / "work", seconds=0.2)


def test_a_failure_of_git_is_told_in_its_own_last_words(repo: Path) -> None:
    done = subprocess.CompletedProcess([], 128, b"", b"hint: a\nfatal: bad object x\n")
    assert git_module.Git(repo).failure(["diff"], done).what == "git diff failed: fatal: bad object x"
    quiet = subprocess.CompletedProcess([], 3, b"", b"")
    assert git_module.Git(repo).failure(["diff"], quiet).what == "git diff failed: exit code 3"
