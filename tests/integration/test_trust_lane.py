"""A fork's commit on a leased machine: refused, approved, run exactly as approved; the host is real, GitHub is emulated."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.github_kit import NUMBER, Hub, emulated_github, review
from tests.pool_kit import Pool
from tests.projects import Project, make_project

pytestmark = pytest.mark.needs("sshd")
OURS = "def test_a():\n    assert False, 'the default branch was tested'\n"
THEIRS = "def test_a():\n    assert True\n"
TEAM = """
[trust]
forks = "reviewed"

[suites.unit]
tests = ["tests"]
machine = "lab"
timeout = "60s"
[suites.unit.when]
labels = ["run-lab-tests"]

[suites.here]
tests = ["tests"]
[suites.here.when]
events = ["pull_request"]
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A checkout of the default branch that also has the commit of a fork, and the job that a label has started."""

    project: Project
    hub: Hub
    pool: Pool
    base: str
    head: str

    def environ(self, **changes: str) -> dict[str, str]:
        """The variables of the job, and the event's file."""
        repository = {"full_name": "org/kpt", "id": 1, "default_branch": "main"}
        payload = {
            "action": "labeled",
            "label": {"name": "run-lab-tests"},
            "number": NUMBER,
            "pull_request": {
                "number": NUMBER,
                "user": {"login": "mallory"},
                "labels": [{"name": "run-lab-tests"}],
                "head": {"ref": "topic", "sha": self.head, "repo": {"full_name": "mallory/kpt", "id": 2}},
                "base": {"ref": "main", "sha": self.base, "repo": repository},
            },
            "repository": repository,
            "sender": {"login": "dev", "type": "User"},
        }
        event = self.project.home / "event.json"
        event.write_text(json.dumps(payload))
        return {
            **self.hub.environ,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_EVENT_NAME": "pull_request_target",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_SHA": self.base,
            "GITHUB_RUN_ID": "4711",
            "GITHUB_RUN_ATTEMPT": "1",
            **changes,
        }


@pytest.fixture(scope="module")
def hosts() -> Iterator[Pool]:
    with Pool(["one"]) as pool:
        yield pool


@pytest.fixture
def scene(hosts: Pool, tmp_path: Path) -> Iterator[Scene]:
    options = "".join(f"{name} = {json.dumps(text)}\n" for name, text in hosts.machine.options.items())
    lab = f'[machines.lab]\nprovider = "ssh"\npython = {json.dumps(sys.executable)}\n[machines.lab.options]\n{options}'
    project = make_project(tmp_path, {"tests/test_a.py": OURS}, configuration=lab + TEAM)
    base = project.git("rev-parse", "HEAD").strip()
    project.git("switch", "-q", "-c", "fetched")
    project.write({"tests/test_a.py": THEIRS})
    head = project.commit()
    project.git("switch", "-q", "main")
    with emulated_github() as hub:
        hub.world.pull(hub.repository, NUMBER, head, author="mallory", head_repository="mallory/kpt")
        yield Scene(project=project, hub=hub, pool=hosts, base=base, head=head)
    assert hosts.holdings() == []


def test_without_an_approval_nothing_is_leased(scene: Scene) -> None:
    refused = scene.project.ci("run", "unit", cwd=None, **scene.environ())
    assert refused.code == 10, refused
    assert refused.err.splitlines()[0] == (
        "ci-runner: error: nothing may lease a machine: nobody has approved this commit of a fork"
    )
    assert "fix: have somebody with write access, who is not the author, review and approve" in refused.err
    assert not (scene.project.root / ".ci-runner").exists()
    planned = scene.project.ci("plan", "--save-plan", "p.json", cwd=None, **scene.environ())
    assert planned.code == 10, planned
    plan = json.loads((scene.project.root / "p.json").read_text())
    assert {"unit": "untrusted"}.items() <= {skip["suite"]: skip["code"] for skip in plan["skipped"]}.items()


def test_an_approved_commit_is_what_the_machine_gets(scene: Scene) -> None:
    review(scene.hub, "dev")
    planned = scene.project.ci("plan", "--save-plan", "p.json", cwd=None, **scene.environ())
    assert planned.code == 0, planned
    done = scene.project.ci("run", "--plan", "p.json", "--format", "json", cwd=None, **scene.environ())
    assert done.code == 0, done
    assert done.json["passed"] == 1
    assert scene.project.load("plan.json")["event"]["trust"]["commit"] == scene.head
    pull = scene.hub.repository.issues[NUMBER].pull
    assert pull is not None
    pull.head = "b" * 40
    late = scene.project.ci("run", "--plan", "p.json", cwd=None, **scene.environ())
    assert late.code == 10, late
    assert "the pull request has another head than this event" in late.err


def test_a_fork_does_not_make_its_own_rules(scene: Scene) -> None:
    review(scene.hub, "dev")
    scene.project.git("switch", "-q", "fetched")
    refused = scene.project.ci("run", "unit", cwd=None, **scene.environ())
    assert refused.code == 10, refused
    assert 'the commit is a fork\'s, and [trust] forks is "never" here' in refused.err


def test_a_commit_that_was_not_fetched_is_said_to_be_missing(scene: Scene) -> None:
    gone = "c" * 40
    pull = scene.hub.repository.issues[NUMBER].pull
    assert pull is not None
    pull.head = gone
    review(scene.hub, "dev")
    environ = scene.environ()
    event = Path(environ["GITHUB_EVENT_PATH"])
    event.write_text(event.read_text().replace(scene.head, gone))
    done = scene.project.ci("run", "unit", cwd=None, **environ)
    assert done.code == 8, done
    assert f"commit {gone[:12]} is not in this repository" in done.out + done.err
