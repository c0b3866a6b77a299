"""The test suites of three real packages, through `ci-runner run` and through bare pytest: the same, test by test."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bootstrap.index import address_of, index_in_use
from bootstrap.web import Web

from tests.projects import Project, make_project

SECONDS = 300.0
LARGEST = 16 * 1024 * 1024


@dataclass(frozen=True)
class Upstream:
    """A source distribution, and the part of its tests that is run (all, unless that takes a minute)."""

    name: str
    version: str
    sha256: str
    tests: tuple[str, ...]
    at_least: int  # tests: a subset that shrinks to nothing must not look equal


UPSTREAM = (
    Upstream("jinja2", "3.1.6", "0137fb05990d35f1275a587e9aee6d56da821fc83491a0fb838183be43f66d6d", ("tests",), 900),
    Upstream("pluggy", "1.7.0", "d1eaa46ebb595891b860ab086b4d09c8588af65ebd4361b8e8f4bb8920b90ba8", ("testing",), 100),
    Upstream(
        "packaging",
        "26.3",
        "94edc256424af38762eb31306eed28beb9f0efc50a8837492c9d6fd6004aed79",
        ("tests/test_markers.py", "tests/test_requirements.py", "tests/test_metadata.py", "tests/test_utils.py"),
        500,
    ),
)  # fmt: skip


def archive_of(upstream: Upstream) -> Path:
    """The source distribution with the pinned hash: from the cache, else from the package index in use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ci-runner" / "sources"
    name = f"{upstream.name}-{upstream.version}.tar.gz"
    kept = cache / name
    if not kept.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        web = Web(os.environ)
        url = address_of(web, index_in_use(os.environ), upstream.name, name)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as file:
            web.save(url, file, limit=LARGEST)
        Path(file.name).replace(kept)
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    if digest != upstream.sha256:
        kept.unlink()
    assert digest == upstream.sha256, f"{name} is not the file that was pinned"
    return kept


def unpacked(upstream: Upstream, folder: Path) -> Project:
    """A repository that holds the sources, with a suite over their tests."""
    with tarfile.open(archive_of(upstream)) as file:
        file.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and newer
        file.extractall(folder / "sources")
    (sources,) = (folder / "sources").iterdir()
    tests = ", ".join(json.dumps(test) for test in upstream.tests)
    configuration = f'[suites.upstream]\ntests = [{tests}]\n[suites.upstream.env]\nPYTHONPATH = "src"\n'
    project = make_project(folder, {}, configuration=configuration)
    for item in sources.iterdir():
        item.rename(project.root / item.name)
    (project.root / ".gitignore").unlink(missing_ok=True)
    project.commit("Add the sources")
    return project


def bare(project: Project, upstream: Upstream, folder: Path) -> Counter[tuple[str, str, str]]:
    """What pytest alone says: class, name and outcome of each test."""
    report = folder / "bare.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *upstream.tests],
        cwd=project.root, env=project.environ(PYTHONPATH="src"), capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout[-2000:] + done.stderr[-2000:]
    return outcomes(report)


def outcomes(report: Path) -> Counter[tuple[str, str, str]]:
    """Class, name and outcome of each test of a JUnit file."""
    found: Counter[tuple[str, str, str]] = Counter()
    for case in ET.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found[case.get("classname") or "", case.get("name") or "", min(kinds, default="passed")] += 1
    return found


@pytest.mark.parametrize("upstream", UPSTREAM, ids=lambda upstream: upstream.name)
def test_an_upstream_suite_comes_to_the_same_as_under_bare_pytest(upstream: Upstream, tmp_path: Path) -> None:
    project = unpacked(upstream, tmp_path)
    alone = bare(project, upstream, tmp_path)
    ended = project.ci("run", "--format", "json")
    assert ended.out, ended
    result = ended.json
    assert sum(alone.values()) == result["tests"] >= upstream.at_least
    expected = Counter(outcome for (_class, _name, outcome), times in alone.items() for _ in range(times))
    names = {"passed": "passed", "failed": "failure", "errored": "error", "skipped": "skipped"}
    assert {name: result[name] for name in names} == {name: expected[kind] for name, kind in names.items()}
    assert result["verdict"] == ("failed" if expected["failure"] + expected["error"] else "passed"), ended
    assert ended.code == (1 if result["verdict"] == "failed" else 0)
    # our own merged file says the same of each single test as pytest's
    assert outcomes(project.last_run() / "junit.xml") == alone
