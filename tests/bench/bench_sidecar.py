"""Cost of the sidecar on 1,000 trivial tests, beside bare pytest. Run: python tests/bench/bench_sidecar.py."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "ci_runner" / "execution" / "onboard" / "plugin"
TESTS = 1_000
PAIRS = int(os.environ.get("BENCH_PAIRS", "9"))
LIMIT = 1.03  # the median of the pairs' ratios of CPU time


def project(folder: Path) -> None:
    """1,000 tests that do nothing, in ten files."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    for number in range(10):
        tests = "".join(f"def test_{index}(): pass\n" for index in range(TESTS // 10))
        (folder / f"test_{number}.py").write_text(tests)


def measured(folder: Path, *, sidecar: bool) -> tuple[float, float]:
    """Seconds on the clock and of CPU for one run of pytest."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "CI_RUNNER")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugin = []
    if sidecar:
        env |= {"PYTHONPATH": str(folder / "plugin"), "CI_RUNNER_SIDECAR": str(folder / "sidecar.jsonl")}
        env["CI_RUNNER_STACKS"] = str(folder / "stacks.txt")
        plugin = ["-p", "ci_runner_sidecar"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin],
        cwd=folder,
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print medians and the fastest; 1 if the sidecar costs more than it may."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder)
        shutil.copytree(PLUGIN, folder / "plugin")
        for sidecar in (False, True):
            measured(folder, sidecar=sidecar)  # byte code
        pairs = []
        for number in range(PAIRS):
            first = bool(number % 2)  # whatever drifts, drifts for both
            told = {sidecar: measured(folder, sidecar=sidecar) for sidecar in (first, not first)}
            pairs.append((told[False], told[True]))
        lines = (folder / "sidecar.jsonl").read_bytes().count(b"\n")
    if lines != (PAIRS + 1) * (2 * TESTS + 3):
        raise SystemExit(f"the sidecar has {lines} lines")
    ratios = {
        kind: statistics.median(with_it[index] / bare[index] for bare, with_it in pairs)
        for index, kind in enumerate(("wall", "cpu"))
    }
    # what a busy machine adds is many times what the sidecar costs, and shows least in the fastest runs
    fastest = min(with_it[1] for _, with_it in pairs) / min(bare[1] for bare, _ in pairs)
    result = {
        "tests": TESTS,
        "pairs": PAIRS,
        "bare_cpu_seconds": round(statistics.median(bare[1] for bare, _ in pairs), 3),
        "wall_ratio": round(ratios["wall"], 4),
        "cpu_ratio": round(ratios["cpu"], 4),
        "fastest_cpu_ratio": round(fastest, 4),
        "limit": LIMIT,
    }
    print(json.dumps(result))
    return 0 if ratios["cpu"] <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
