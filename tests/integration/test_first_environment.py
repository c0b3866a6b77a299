"""The repository's own suites can be read by what the first start of scripts/ci-runner installs, without the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 300
WHAT = ("--collect-only", "-qq", "tests/unit", "tests/contract")
BLOCKER = """
import sys

BLOCKED = frozenset({names!r})


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


for name in [name for name in sys.modules if name.partition(".")[0] in BLOCKED]:
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
"""


def installed_first() -> set[str]:
    """The distributions that the lock gives to the package itself and to the group of the first start."""
    packages: Mapping[str, Any] = {
        package["name"]: package
        for package in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    }
    own = packages["ci-runner"]
    found = {"ci-runner"}
    due: list[Sequence[Mapping[str, Any]]] = [own["dependencies"], own["dev-dependencies"]["test"]]
    while due:
        for wanted in due.pop():
            name = wanted["name"]
            if name not in found:
                found.add(name)
                due.append(packages[name].get("dependencies", []))
            due.extend(
                packages[name].get("optional-dependencies", {}).get(extra, [])
                for extra in wanted.get("extra", [])
            )
    return found


def test_what_the_first_start_installs_can_read_every_test_of_the_own_suites(tmp_path: Path) -> None:
    first = installed_first()
    later = sorted(
        module
        for module, owners in packages_distributions().items()
        if module != "coverage" and not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & first
    )
    assert "moto" in later
    assert not {"yaml", "ci_runner", "coverage"} & set(later)
    (tmp_path / "absent_packages.py").write_text(BLOCKER.format(names=later))
    environ = {name: value for name, value in os.environ.items() if name != "CI_RUNNER_GROUPS"}
    environ |= {
        "PYTHONPATH": str(tmp_path),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "HYPOTHESIS_NO_PLUGINS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "absent_packages", "-p", "no:cacheprovider", *WHAT],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
