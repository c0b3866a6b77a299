"""What tests of guard and reap share: two emulated clouds in which a killed run has left machines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_runner.github.job import job_of
from ci_runner.providers.base import Source
from tests.ec2_kit import Cloud, gpu_lease
from tests.ec2_kit import offer as gpu_offer
from tests.projects import Ended
from tests.runner_harness import read_file_command
from tests.tpu_kit import Google, tpu_lease
from tests.tpu_kit import offer as tpu_offer

SECONDS = 120.0
# what is the same in every phase of a job, and in every job of a run but for GITHUB_JOB
RUN = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "you/scratch",
    "GITHUB_RUN_ID": "1",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "tests",
}


@dataclass(frozen=True)
class Clouds:
    """An emulated Google Cloud and an emulated AWS."""

    google: Google
    amazon: Cloud
    source: Source

    @property
    def environ(self) -> dict[str, str]:
        """What leads a process there."""
        return {**self.google.environ, **self.amazon.environ}

    def lease(self, name: str, environ: Mapping[str, str] = RUN, **more: Any) -> None:
        """A TPU and a GPU machine that a job with these variables has leased, and will not give back."""
        labels = {"job": job_of(environ), "repository": "you/scratch"}
        tpu = tpu_lease(f"{name}-{os.getpid():06x}-t", labels=labels, **more)
        gpu = gpu_lease(f"{name}-{os.getpid():06x}-g", labels=labels, **more)
        self.google.provider().acquire(tpu, tpu_offer(), self.source, seconds=600)
        self.amazon.provider().acquire(gpu, gpu_offer(), self.source, seconds=600)

    def left(self) -> list[str]:
        """The leases whose machines exist, by their short names."""
        found = [*self.google.provider().leases(), *self.amazon.provider().leases()]
        return sorted(lease.id.partition("-")[0] for lease in found)


@contextmanager
def emulated_clouds(source: Source) -> Iterator[Clouds]:
    """Both clouds, empty."""
    with Google() as google, Cloud() as amazon:
        yield Clouds(google, amazon, source)


@dataclass
class Phases:
    """The phases of Docker actions as processes of this machine: each begins with the variables alone."""

    workspace: Path
    temp: Path
    environ: dict[str, str]
    outputs: dict[str, str]
    summary: str = ""

    def run(self, action: str, step: str, inputs: Mapping[str, str] | None = None, **more: str) -> Ended:
        """One phase."""
        files = {
            name: self.temp / f"{name}-{time.time_ns()}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        }
        for file in files.values():
            file.touch()
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        kept |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "ci_runner.cli.docker_action", action, step],
            cwd=self.workspace,
            env={
                **kept,
                **RUN,
                "HOME": str(self.temp),
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_WORKSPACE": str(self.workspace),
                **self.environ,
                # the names that GitHub gives them
                **{f"INPUT_{name.upper()}": value for name, value in (inputs or {}).items()},
                **{name: str(file) for name, file in files.items()},
                **more,
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.outputs = read_file_command(files["GITHUB_OUTPUT"].read_text())
        self.summary = files["GITHUB_STEP_SUMMARY"].read_text()
        return Ended(done.returncode, done.stdout, done.stderr)
