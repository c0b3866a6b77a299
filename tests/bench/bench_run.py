"""How much `ci-runner` costs on top of what it starts: `python tests/bench/bench_run.py [--tests N] [--rounds N]`.

Prints medians of interleaved runs and their ratio, and for the run of many tests also the fastest of both: what a busy
machine adds does not show in those. The two things compared always run in the same process of measuring.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

PYTHON = sys.executable
CI_RUNNER = str(Path(PYTHON).with_name("ci-runner"))


def timed(command: Sequence[str], cwd: Path, env: dict[str, str]) -> float:
    """Wall seconds of one run of a command that must succeed."""
    start = time.perf_counter()
    subprocess.run(
        command, cwd=cwd, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def interleaved(
    ours: Callable[[], float], rival: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, measured alternately, after one unmeasured run of each."""
    ours(), rival()
    pairs = [(ours(), rival()) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def report(name: str, ours: float, rival: float, limit: str) -> None:
    """One line of the table."""
    print(f"{name:<44} {ours * 1000:9.1f} ms {rival * 1000:9.1f} ms {ours / rival:6.2f} x   {limit}")


def main() -> int:
    """Measure start-up and a run of many trivial tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{'':<44} {'ci-runner':>12} {'rival':>12} {'ratio':>8}   limit")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        env = os.environ | {
            "HOME": folder,
            "XDG_STATE_HOME": f"{folder}/state",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        env.pop("CI", None)
        for words in (["--help"], ["plan", "--help"]):
            ours, rival = interleaved(
                lambda words=words: timed([CI_RUNNER, *words], root, env),  # type: ignore[misc]
                lambda: timed([PYTHON, "-c", "pass"], root, env),
                arguments.rounds * 3,
            )
            report(f"{' '.join(words)} against python -c pass", median(ours), median(rival), "3 x")
        project = make_tests(root, arguments.tests)
        bare = [PYTHON, "-m", "pytest", "-q", "tests"]
        ours, rival = interleaved(
            lambda: timed([CI_RUNNER, "run"], project, env),
            lambda: timed(bare, project, env),
            arguments.rounds,
        )
        for name, of in (("median", median), ("fastest", min)):
            what = f"run of {arguments.tests} tests, {name}"
            report(what, of(ours), of(rival), "1.05 x + 500 ms")
            rest = of(ours) - 1.05 * of(rival)
            print(f"{'over 1.05 x bare pytest':<44} {rest * 1000:9.1f} ms {'':>12} {'':>8}   500 ms")
    return 0


def make_tests(root: Path, count: int) -> Path:
    """A repository with so many trivial tests in ten files."""
    project = root / "project"
    (project / "tests").mkdir(parents=True)
    for part in range(10):
        text = "".join(f"def test_{number}():\n    assert True\n\n" for number in range(count // 10))
        (project / "tests" / f"test_{part}.py").write_text(text)
    configuration = f'[suites.unit]\ntests = ["tests"]\n[machines.local]\npython = "{PYTHON}"\n'
    (project / "ci-runner.toml").write_text(configuration)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "Start"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    return project


if __name__ == "__main__":
    sys.exit(main())
