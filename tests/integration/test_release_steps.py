"""The release, done: both builds, and the script that publishes, on a real repository with a `gh` that remembers."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from releases import steps

from tests.act_kit import LEFT_OUT, copy_of_the_project

pytestmark = pytest.mark.needs("git")

yaml: Any = importlib.import_module("yaml")  # comes with moto, and brings no types
ROOT = Path(__file__).resolve().parents[2]
VERSION = "1.2.3"
IMAGE = f"ghcr.io/org/kpt@sha256:{'a' * 64}"
CHANGES = f"# Changelog\n\n## [Unreleased]\n\n## [{VERSION}] - 2026-11-23\n\n- First.\n"
# Says what it was asked, and keeps the state of the one release in a file.
GH = f"""\
#!{sys.executable}
import os, sys
from pathlib import Path
state, words = Path(os.environ["GH_STATE"]), sys.argv[1:]
with Path(os.environ["GH_LOG"]).open("a") as log:
    print(*words, file=log)
if words[:2] == ["release", "view"]:
    if not state.exists():
        sys.exit("release not found")
    print("true" if state.read_text() == "draft" else "false")
elif words[:2] == ["release", "create"]:
    state.write_text("draft")
elif words[:2] == ["release", "delete"]:
    state.unlink()
elif words[:2] == ["release", "edit"]:
    if os.environ.get("GH_BREAKS"):
        sys.exit("HTTP 502")
    state.write_text("published")
elif words[0] == "api":
    print(os.environ.get("GH_IMMUTABLE", "true"))
elif words != ["auth", "setup-git"]:
    sys.exit(f"unknown: {{words}}")
"""


class Place:
    """A checkout of a commit to release, the repository that it is pushed to, and GitHub's command."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.checkout, self.remote = folder, folder / "checkout", folder / "remote.git"
        copy_of_the_project(self.checkout)
        # bound to the environment of these tests: making another one would measure the index
        runner = self.checkout / "scripts" / "release"
        runner.write_text(f'#!/bin/sh\nexec {sys.executable} "$(dirname "$0")/releases" "$@"\n')
        runner.chmod(0o755)
        (self.checkout / "CHANGELOG.md").write_text(CHANGES)
        project = self.checkout / "pyproject.toml"
        project.write_text(project.read_text().replace('version = "0.1.0"', f'version = "{VERSION}"', 1))
        (folder / "bin").mkdir()
        (folder / "bin" / "gh").write_text(GH)
        (folder / "bin" / "gh").chmod(0o755)
        (folder / "dist").mkdir()
        (folder / "dist" / "x.whl").write_bytes(b"x")
        subprocess.run(["git", "init", "-q", "--bare", str(self.remote)], check=True)
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Set the version")
        self.git("remote", "add", "origin", str(self.remote))
        self.git("push", "-q", "origin", "main")

    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith((*LEFT_OUT, "GH_"))}
        return {
            **kept,
            "HOME": str(self.folder),
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{kept['PATH']}",
            "RUNNER_TEMP": str(self.folder),
            "GITHUB_REPOSITORY": "org/kpt",
            "GH_STATE": str(self.folder / "state"),
            "GH_LOG": str(self.folder / "asked"),
        }

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.checkout, env=self.environ(), capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def publish(self, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the last step of the workflow as the runner would."""
        values = {"GH_TOKEN": "t", "VERSION": VERSION, "IMAGE": IMAGE}
        step = last_step()
        assert set(values) == set(step["env"])
        assert step["shell"] == "bash"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.checkout,
            env={**self.environ(), **values, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def asked(self) -> list[str]:
        """What gh was asked for, without the questions."""
        lines = (self.folder / "asked").read_text().splitlines()
        return [" ".join(line.split()[:2]) for line in lines if not line.startswith(("auth", "release view"))]

    def remote_refs(self) -> dict[str, str]:
        """The refs of the repository that was pushed to."""
        lines = self.git("ls-remote", str(self.remote)).splitlines()
        return {name: sha for sha, _, name in (line.partition("\t") for line in lines)}


def last_step() -> Mapping[str, Any]:
    """The step that publishes, of the workflow as it is."""
    tree = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8"))
    step: Mapping[str, Any] = tree["jobs"]["publish"]["steps"][-1]
    return step


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_release_is_one_commit_beside_main_that_pins_the_image(place: Place) -> None:
    before = place.git("rev-parse", "HEAD")
    done = place.publish()
    assert done.returncode == 0, done.stderr
    refs = place.remote_refs()
    assert refs["refs/heads/main"] == before
    assert refs[f"refs/tags/v{VERSION}"] == refs["refs/tags/v1"] != before
    assert place.git("rev-parse", f"v{VERSION}^") == before
    changed = place.git("diff", "--name-only", before, f"v{VERSION}").splitlines()
    assert changed == ["actions/guard/action.yml", "actions/reap/action.yml"]
    assert f"image: docker://{IMAGE}" in place.git("show", "v1:actions/guard/action.yml")
    assert (place.folder / "notes.md").read_text() == "- First.\n"
    assert place.asked() == ["release create", "release edit", "api repos/org/kpt/releases/tags/v1.2.3"]


def test_what_can_still_be_changed_does_not_get_the_major_tag(place: Place) -> None:
    done = place.publish(GH_IMMUTABLE="false")
    assert done.returncode == 1
    assert "::error::v1.2.3 can still be changed" in done.stdout
    assert "refs/tags/v1" not in place.remote_refs()


def test_a_second_try_goes_on_with_the_same_commit(place: Place) -> None:
    before = place.git("rev-parse", "HEAD")
    assert place.publish(GH_BREAKS="yes").returncode != 0
    tagged = place.remote_refs()[f"refs/tags/v{VERSION}"]
    assert "refs/tags/v1" not in place.remote_refs()
    # another runner checks out the commit again, and knows no tags
    place.git("checkout", "-q", "-B", "main", before)
    place.git("tag", "-d", f"v{VERSION}")
    done = place.publish()
    assert done.returncode == 0, done.stderr
    assert place.remote_refs()[f"refs/tags/v{VERSION}"] == place.remote_refs()["refs/tags/v1"] == tagged
    assert place.asked()[2:] == [
        "release delete",
        "release create",
        "release edit",
        "api repos/org/kpt/releases/tags/v1.2.3",
    ]


def test_what_is_released_is_not_released_again(place: Place) -> None:
    steps.check(place.checkout, VERSION)
    assert place.publish().returncode == 0
    with pytest.raises(steps.Refused, match=r"1\.2\.3 is released already"):
        steps.check(place.checkout, VERSION)


def test_two_builds_have_the_same_bytes_and_only_what_is_committed(place: Place) -> None:
    (place.checkout / "ci_runner" / "left_lying.py").write_text("x = 1\n")
    out = place.folder / "out"
    lines = steps.build_twice(place.checkout, out)
    names = sorted(path.name for path in out.iterdir())
    assert names == [f"ci_runner-{VERSION}-py3-none-any.whl", f"ci_runner-{VERSION}.tar.gz"]
    assert [line.partition("  ")[2] for line in lines] == names
    with zipfile.ZipFile(out / names[0]) as wheel, tarfile.open(out / names[1]) as archive:
        packed = [*wheel.namelist(), *archive.getnames()]
    assert sum(name.endswith("ci_runner/model.py") for name in packed) == 2
    assert not any("left_lying" in name for name in packed)


def test_builds_that_differ_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"one": {"x.whl": "1", "y": "2"}, "two": {"x.whl": "1", "z": "2"}}
    monkeypatch.setattr(steps, "built", lambda _root, folder, *_: found[folder.name])
    with pytest.raises(steps.Refused, match="differ: y, z"):
        steps.build_twice(place.checkout, place.folder / "out")
    assert not (place.folder / "out").exists()
