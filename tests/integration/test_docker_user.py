"""A process that begins as root and gives it up: who it is then, and what it can still write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runner_harness import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give it up")
SOMEBODY, IMAGE = 61234, 61235
PROGRAM = """\
import json, os, pwd, signal, sys
sys.path.insert(0, sys.argv[1])
from ci_runner.cli import docker_user
own = pwd.struct_passwd(("ci-runner", "x", int(sys.argv[2]), int(sys.argv[2]), "", "/", "/"))
docker_user.pwd.getpwnam = {"ci-runner": own}.__getitem__

def phase(words):
    found = {"words": words, "user": os.getresuid(), "group": os.getresgid(), "groups": os.getgroups()}
    for name in ("HOME", "RUNNER_TEMP", "GITHUB_STATE"):
        found[name] = os.environ.get(name)
    with open(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]) as file:
        found["key"] = file.read()
    for path in sys.argv[3:]:
        try:
            open(path, "a").close()
            found[path] = "written"
        except OSError as error:
            found[path] = type(error).__name__
    try:
        os.seteuid(0)
        found["back"] = True
    except PermissionError:
        found["back"] = False
    if os.environ.get("GITHUB_OUTPUT"):
        with open(os.environ["GITHUB_OUTPUT"], "a") as file:
            file.write("one=1\\n")
    print(json.dumps(found))
    if os.environ.get("DIE"):
        signal.raise_signal(signal.SIGTERM)
    return 3

sys.exit(docker_user.run("ci-runner-guard-release", phase))
"""


def begun(folder: Path, owner: int, **more: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The phase of an image whose runner is `owner`; the file of its outputs."""
    output, key = folder / "output", folder / "key.json"
    output.write_text("earlier=0\n")
    key.write_text("{}")
    for file in (output, key):
        file.chmod(0o600)
        os.chown(file, owner, owner)
    environ = {
        "PATH": os.environ["PATH"],
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STATE": str(output),
        "GITHUB_WORKSPACE": str(folder),
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        **more,
    }
    words = [sys.executable, "-c", PROGRAM, str(ROOT), str(IMAGE), str(output), "/etc/ours"]
    done = subprocess.run(
        words, env=environ, cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    return done, output


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What the phase found out."""
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("owner", "user"), [(0, IMAGE), (SOMEBODY, SOMEBODY)])
def test_the_phase_is_the_runners_user_and_its_outputs_arrive(tmp_path: Path, owner: int, user: int) -> None:
    done, output = begun(tmp_path, owner)
    found = told(done)
    assert done.returncode == 3, done.stderr
    assert found["words"] == ["guard", "release"]
    assert found["user"] == found["group"] == [user] * 3
    assert (found["groups"], found["back"], found["key"]) == ([], False, "{}")
    assert found[str(output)] == "PermissionError"  # the folder above it is root's alone
    assert found["/etc/ours"] == "PermissionError"
    assert output.read_text() == "earlier=0\none=1\n"
    assert output.stat().st_uid == owner
    assert found["HOME"] == found["RUNNER_TEMP"]
    assert found["GITHUB_STATE"] is None
    assert not Path(found["HOME"]).exists()


def test_what_was_said_before_a_cancellation_arrives(tmp_path: Path) -> None:
    done, output = begun(tmp_path, SOMEBODY, DIE="1")
    assert "KeyboardInterrupt" in done.stderr
    assert output.read_text() == "earlier=0\none=1\n"


@pytest.mark.parametrize("kind", ["link", "pipe", "absent"])
def test_nothing_is_written_but_into_a_file(tmp_path: Path, kind: str) -> None:
    target, place = tmp_path / "target", tmp_path / "place"
    target.write_text("")
    if kind == "link":
        place.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(place)
    done, _ = begun(tmp_path, 0, GITHUB_OUTPUT=str(place))
    assert done.returncode == 3, done.stderr
    assert "ci-runner: warning: GITHUB_OUTPUT" in done.stderr
    assert target.read_text() == ""
