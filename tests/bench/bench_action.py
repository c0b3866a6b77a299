"""From the start of actions/test to its first test: python tests/bench/bench_action.py.

Cold: an empty RUNNER_TEMP, wheels in uv's cache, as at the start of every job on a runner with a cache. Warm: the second
step of a job. The command's own share is what this adds to the machine's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.projects import make_project
from tests.runner_harness import ROOT

COLD, WARM = 10.0, 3.0  # seconds


def first_test(folder: Path, environ: dict[str, str]) -> float:
    """Seconds until the first test began."""
    before = time.time()
    subprocess.run(
        [ROOT / "scripts" / "action", "test", "run"],
        cwd=folder,
        env=environ,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    newest = max((Path(environ["RUNNER_TEMP"]) / "ci-runner" / "runs").iterdir())
    (sidecar,) = newest.glob("attempts/*/sidecar.jsonl")
    events = [json.loads(line) for line in sidecar.read_text().splitlines()]
    return float(next(event["time"] for event in events if event["event"] == "start")) - before


def main() -> int:
    """Measure both; 1 if one is over its limit."""
    with tempfile.TemporaryDirectory() as name:
        project = make_project(
            Path(name),
            {"tests/test_a.py": "def test_a(): pass\n"},
            configuration='[suites.unit]\ntests = ["tests"]\n',
        )
        temp = Path(name) / "temp"
        temp.mkdir()
        kept = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))}
        environ = project.environ() | kept
        environ |= {
            "HOME": os.environ["HOME"],
            "RUNNER_TEMP": str(temp),
            "CI": "true",
            "INPUT_SUITES": "unit",
        }
        cold = first_test(project.root, environ)
        warm = min(first_test(project.root, environ) for _ in range(3))
    for what, seconds, limit in (("cold", cold, COLD), ("warm", warm, WARM)):
        print(f"{what}: first test after {seconds:.2f} s (limit {limit:g} s)")
    return int(cold > COLD or warm > WARM)


if __name__ == "__main__":
    sys.exit(main())
