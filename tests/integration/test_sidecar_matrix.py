"""The same small project says the same through every pytest and Python that the plugin supports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from bootstrap.index import index_in_use

from tests.sidecar_kit import RERUNS, SECONDS, XDIST, run, write

REQUIREMENTS = Path(__file__).parents[1] / "data" / "sidecar"
OLD_PYTHON = "3.9"  # the oldest that the plugin promises
PROJECT = """
    import unittest

    import pytest

    tries = []

    @pytest.mark.parametrize("x", ["a b", "ü", "n\\nl"])
    def test_pass(x, record_property): record_property("metric.x", 1)

    def test_fail(): assert 1 == 2

    def test_flaky():
        tries.append(1)
        assert len(tries) > 1

    def test_skip(): pytest.skip("why not")

    @pytest.mark.xfail(reason="known")
    def test_xfail(): assert 0

    @pytest.mark.xfail(reason="known")
    def test_xpass(): pass

    @pytest.mark.xfail(strict=True)
    def test_strict(): pass

    @pytest.fixture
    def bad():
        yield
        raise RuntimeError("no teardown")

    def test_teardown(bad): pass

    def test_setup(missing_fixture): pass

    def test_subtests(subtests):
        for i in range(3):
            with subtests.test(msg="number", i=i):
                assert i != 1

    class Case(unittest.TestCase):
        def test_ok(self): pass
        @unittest.expectedFailure
        def test_expected(self): self.fail()
        @unittest.expectedFailure
        def test_unexpected(self): pass
        def test_sub(self):
            for i in range(3):
                with self.subTest(i=i):
                    self.assertNotEqual(i, 1)
"""
EXPECTED = [
    ("test_pass[a b]", "passed"),
    ("test_pass[\\xfc]", "passed"),
    ("test_pass[n\\nl]", "passed"),
    ("test_fail", "rerun"),
    ("test_fail", "failed"),
    ("test_flaky", "rerun"),
    ("test_flaky", "passed"),
    ("test_skip", "skipped"),
    ("test_xfail", "xfailed"),
    ("test_xpass", "xpassed"),
    ("test_strict", "rerun"),
    ("test_strict", "failed"),
    ("test_teardown", "rerun"),
    ("test_teardown", "errored"),
    ("test_setup", "rerun"),
    ("test_setup", "errored"),
    ("test_subtests", "failed"),
    ("Case::test_expected", "xfailed"),
    ("Case::test_ok", "passed"),
    ("Case::test_sub", "failed"),
    ("Case::test_unexpected", "failed"),
]


def find_uv() -> str | None:
    """The uv that scripts/ci-runner uses: on PATH, or fetched by it before."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return shutil.which("uv") or next(map(str, sorted(cache.glob("ci-runner/uv/*/uv"))), None)


def uv(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run uv, which fetches no interpreter."""
    found = find_uv()
    if found is None:
        pytest.skip("uv is neither on PATH nor where scripts/ci-runner keeps it")
    command = [found, "--no-progress", "--no-config", "--no-python-downloads", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def interpreter(wanted: str) -> str:
    """The path of an interpreter of this version; the test is left out where there is none."""
    if wanted == "current":
        return sys.executable
    kept = (Path.home() / ".pyenv" / "versions").glob(
        f"{wanted}.*/bin/python"
    )  # its shims may be switched off
    found = uv("python", "find", next(map(str, kept), wanted))
    if found.returncode:
        pytest.skip(f"there is no Python {wanted}")
    return found.stdout.strip()


@pytest.fixture(scope="session")
def pythons() -> dict[tuple[str, str], str]:
    """The environments that were made, by interpreter and requirements."""
    return {}


@pytest.mark.parametrize(
    ("wanted", "requirements"),
    [
        ("current", "pytest7.txt"),
        ("current", "pytest8.txt"),
        (OLD_PYTHON, "pytest8.txt"),
        (OLD_PYTHON, "pytest7.txt"),
    ],
)
def test_every_pytest_says_the_same(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    pythons: dict[tuple[str, str], str],
    wanted: str,
    requirements: str,
) -> None:
    """Outcomes, ids, repeated tries, subtests and workers do not depend on the version."""
    base = interpreter(wanted)
    if (wanted, requirements) not in pythons:
        folder = tmp_path_factory.mktemp("venv")
        made = uv("venv", "--no-project", "--python", base, str(folder / "venv"))
        assert made.returncode == 0, made.stderr
        python = str(folder / "venv" / "bin" / "python")
        index = index_in_use(os.environ).url  # pip's settings count too, as when this checkout was set up
        listed = str(REQUIREMENTS / requirements)
        made = uv(
            *(
                "pip",
                "install",
                "--require-hashes",
                "--default-index",
                index,
                "--python",
                python,
                "-r",
                listed,
            )
        )
        if "Failed to fetch" in made.stderr or "error sending request" in made.stderr:
            pytest.skip("the package index cannot be reached")
        assert made.returncode == 0, made.stderr
        pythons[wanted, requirements] = python
    expect(tmp_path, pythons[wanted, requirements], env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""})


def test_the_newest_pytest_says_the_same(tmp_path: Path) -> None:
    """The one that this project is tested with, which has subtests of its own."""
    expect(tmp_path, sys.executable, *RERUNS, *XDIST)


def expect(folder: Path, python: str, *plugins: str, env: Mapping[str, str] | None = None) -> None:
    """Run the project with repeated tries in one process, then in two workers."""
    write(folder, PROJECT)
    arguments = (*plugins, "--reruns=1")
    ran = run(folder, *arguments, python=python, env=env)
    assert ran.code == 1, ran.output
    outcomes = without_repeated_cases(ran.outcomes)
    assert outcomes == EXPECTED, ran.output
    assert (ran.log.running, ran.log.exit_status, ran.log.bad_lines) == ((), 1, 0)
    collected = ran.log.collected
    assert collected == tuple(dict.fromkeys(end.id for end in ran.log.ended))
    assert ran.log.ended[0].properties == (("metric.x", 1),)
    last = [end for end in ran.log.ended if end.id.endswith("test_subtests")][-1]
    assert [(item["description"], item["outcome"]) for item in last.subtests][1] == ("[number] i=1", "failed")
    (folder / "sidecar.jsonl").unlink()
    ran = run(folder, *arguments, "-n2", python=python, env=env)
    assert sorted(without_repeated_cases(ran.outcomes)) == sorted(EXPECTED), ran.output
    assert (ran.log.running, ran.log.exit_status, ran.log.collected) == ((), 1, collected)


def without_repeated_cases(outcomes: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The outcomes without those tries whose repetition depends on the version of pytest-rerunfailures."""
    varying = {"test_subtests", "Case::test_unexpected", "Case::test_sub"}
    return [(name, outcome) for name, outcome in outcomes if outcome != "rerun" or name not in varying]
