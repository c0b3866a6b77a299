"""The image of guard and reap, made from the Dockerfile, and the actions run in it by act through podman's service."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_runner.github.job import job_of
from ci_runner.providers.base import Source
from tests.act_kit import Stranger, copy_of_the_project
from tests.docker_kit import RUN, Clouds, emulated_clouds
from tests.podman_kit import BASE, IMAGE, Podman, base_image, build_image
from tests.projects import make_project
from tests.runner_harness import read_file_command

pytestmark = [
    pytest.mark.needs("podman"),
    pytest.mark.needs("debootstrap"),
    pytest.mark.skipif(os.geteuid() != 0, reason="podman and debootstrap have to be root here"),
]
LARGEST = 160 * 1024 * 1024  # what the image may add to its base
WORKFLOW = """\
on: push
permissions: {}
jobs:
  tests:
    runs-on: ubuntu-latest
    steps:
      - id: guard
        uses: org/kpt/actions/guard@v1
        with:
          providers: gcp-tpu, aws-ec2
      - id: reap
        uses: org/kpt/actions/reap@v1
        with:
          providers: aws-ec2
          dry-run: true
      - env:
          LISTED: ${{ steps.reap.outputs.listed }}
        run: |
          echo "$LISTED listed"
          exit 3
"""
WHO = """\
import json, os, sys
sys.argv[0] = "/usr/local/bin/ci-runner-guard"
from ci_runner.cli import docker_action, docker_user
def phase(words):
    with open(os.environ["GITHUB_OUTPUT"], "a") as file:
        file.write("one=1\\n")
    print(json.dumps([os.getresuid(), os.getresgid(), os.getgroups()]))
    return 0
docker_action.main = phase
sys.exit(docker_user.main())
"""


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    # podman and sockets take short names alone
    with tempfile.TemporaryDirectory(prefix="podman-", dir="/tmp") as folder:
        found = Podman(Path(folder))
        try:
            base_image(found)
            build_image(found)
            yield found
        finally:
            found.remove()


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[Clouds]:
    with emulated_clouds(Source(root=str(tmp_path), commit=None)) as found:
        yield found


def test_the_last_phase_gives_back_what_the_job_has_left(
    tmp_path: Path, podman: Podman, clouds: Clouds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """act builds images without build arguments, so it is given this one by the names that it gives them."""
    for name in ("guard", "reap"):
        podman("tag", IMAGE, f"act-org-kpt-actions-{name}-v1-actions-{name}-dockeraction:latest")
    project = make_project(tmp_path, {".github/workflows/ci.yml": WORKFLOW}, configuration=None)
    kpt = copy_of_the_project(tmp_path / "kpt")
    environ = {**clouds.environ, "GITHUB_REPOSITORY": RUN["GITHUB_REPOSITORY"]}
    clouds.lease("lost")
    clouds.lease("used", {**RUN, "GITHUB_JOB": "others"})
    with podman.service() as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        acted = Stranger(project, kpt, environ).act(
            "push",
            None,
            f"-P=ubuntu-latest={BASE}",
            "--rebuild=false",
            "--network=host",
            "--container-daemon-socket=-",
        )
    assert acted.code == 1, acted
    assert f"every machine of this job is given back (aws-ec2, gcp-tpu: {job_of(RUN)})" in acted.log, acted
    assert "it has 2 machines now:" in acted.log
    assert acted.outputs["identity"] == job_of(RUN)
    assert "2 listed" in acted.log  # and so the outputs of a container reach the job
    assert acted.log.count("gave lost") == 2, acted
    assert "Success - Post org/kpt/actions/guard@v1" in acted.log
    assert clouds.left() == ["used", "used"]


def test_the_image_adds_little_and_keeps_no_address_of_an_index(podman: Podman) -> None:
    ((base,), (image,)) = (json.loads(podman("image", "inspect", name)) for name in (BASE, IMAGE))
    assert image["Size"] - base["Size"] < LARGEST
    assert not [line for line in image["Config"]["Env"] if "INDEX" in line]
    told = podman("history", "--no-trunc", "--format={{.CreatedBy}}", IMAGE)
    assert "useradd" in told
    assert "/simple" not in told
    kept = podman("run", "--rm", "--entrypoint=ls", IMAGE, "-A", "/opt/ci-runner", "/tmp").split()
    assert {"ci_runner", "uv.lock"} <= set(kept)
    assert not {"tests", "docs", ".git", "cache"} & set(kept)


@pytest.mark.parametrize(("owner", "user"), [(0, 10001), (1001, 1001)])
def test_nothing_in_it_works_as_root_and_its_outputs_arrive(
    tmp_path: Path, podman: Podman, owner: int, user: int
) -> None:
    """The command file is as a runner of that user has it: nobody else may write there."""
    output = tmp_path / "output"
    output.touch(mode=0o600)
    os.chown(output, owner, owner)
    said = podman(
        *("run", "--rm", "--volume", f"{output}:/github/output", "--env", "GITHUB_OUTPUT=/github/output"),
        *("--entrypoint=/opt/ci-runner/.venv/bin/python", IMAGE, "-I", "-c", WHO),
    )
    assert json.loads(said) == [[user] * 3, [user] * 3, []]
    assert read_file_command(output.read_text()) == {"one": "1"}


def test_without_a_network_it_says_which_cloud_is_silent(podman: Podman) -> None:
    """Nothing is fetched when it runs: it gets as far as asking."""
    variables = {
        **RUN,
        "INPUT_PROVIDERS": "gcp-tpu",
        "GOOGLE_CLOUD_PROJECT": "p",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": "http://127.0.0.1:9",
    }
    words = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    done = podman.tried(
        "run", "--rm", "--network=none", *words, "--entrypoint=/usr/local/bin/ci-runner-guard", IMAGE
    )
    assert done.returncode == 8, done.stderr
    assert "gcp-tpu did not answer" in done.stderr
