"""A stranger's repository whose workflow says `uses: org/kpt/actions/…@v1`, and act, which runs it on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.projects import Project

ROOT = Path(__file__).resolve().parents[1]
ACT = Path(sys.executable).parent / "act"
SECONDS = 180.0
OUTPUT = re.compile(r"::set-output:: ([a-z-]+)=(.*)")
# what the gate or a person set for themselves, and no job would have
LEFT_OUT = ("GITHUB_", "RUNNER_", "CI_RUNNER_", "ACTIONS_", "CLOUDSDK_", "GOOGLE_", "AWS_", "COV", "PYTEST_")


def copy_of_the_project(folder: Path) -> Path:
    """The project as it would be committed now: what act gives to whoever names `org/kpt`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split(b"\0")):
        source, target = ROOT / os.fsdecode(name), folder / os.fsdecode(name)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


@dataclass(frozen=True)
class Acted:
    """What act printed and how it ended."""

    code: int
    log: str

    @property
    def outputs(self) -> dict[str, str]:
        """The last value of each output that a step set."""
        return dict(OUTPUT.findall(self.log))

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.log[-12_000:]}"


@dataclass
class Stranger:
    """Somebody's repository, and what he runs act with."""

    project: Project
    kpt: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Path] = field(
        default_factory=dict
    )  # actions of other people: `actions/x@v1` → folder

    def act(self, event: str, payload: Mapping[str, object] | None = None, *words: str) -> Acted:
        """Run the workflows for an event, to the end."""
        with self.begun(event, payload, *words) as process:
            try:
                log, _ = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                log, _ = process.communicate()
                raise AssertionError(f"act did not end:\n{log[-8_000:]}") from None
        return Acted(process.returncode, log)

    @contextmanager
    def begun(
        self, event: str, payload: Mapping[str, object] | None = None, *words: str
    ) -> Iterator[subprocess.Popen[str]]:
        """act, begun; it is ended with the block."""
        home = self.project.home
        variables = home / "act.env"
        variables.write_text("".join(f"{name}={value}\n" for name, value in self.environ.items()))
        repositories = {"org/kpt@v1": self.kpt, **self.others}
        command = [
            str(ACT),
            event,
            "-P=ubuntu-latest=-self-hosted",
            "--pull=false",
            "--no-cache-server",
            f"--action-cache-path={home / 'act'}",
            f"--env-file={variables}",
            *(f"--local-repository={name}={folder}" for name, folder in repositories.items()),
            *words,
        ]
        if payload is not None:
            path = home / "payload.json"
            path.write_text(json.dumps(payload))
            command.append(f"--eventpath={path}")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
        # a stranger's job finds a python with pytest; here it is the one that runs these tests
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        process = subprocess.Popen(
            command,
            cwd=self.project.root,
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # which ends its steps too
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def pull_request(
    project: Project, *, number: int = 1, labels: tuple[str, ...] = (), **values: object
) -> dict[str, object]:
    """The payload of a push to a pull request of the repository you/scratch, from a branch of its own."""
    head, repository = (
        project.git("rev-parse", "HEAD").strip(),
        {"full_name": "you/scratch", "default_branch": "main"},
    )
    pull = {
        "number": number,
        "state": "open",
        "draft": False,
        "labels": [{"name": name} for name in labels],
        "user": {"login": "you", "type": "User"},
        "head": {"ref": "topic", "sha": head, "repo": repository},
        "base": {"ref": "main", "sha": head, "repo": repository},
    }
    sender = {"login": "you", "type": "User"}
    return {
        "action": "synchronize",
        "number": number,
        "pull_request": pull,
        "repository": repository,
        "sender": sender,
        **values,
    }


def awaited(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    """Wait until something is seen; the process must not end before."""
    from tests.job_kit import until

    until(lambda: seen() or process.poll() is not None)
    assert seen(), process.stdout.read() if process.stdout else ""
