"""The catalogue in docs/examples/pytorch: its dry run line by line, and suites of it run for real."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.projects import Ended, Project

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "pytorch"
DRY_RUN = """\
smoke → SmokeTestSuite: test_smoke
docs_test → DocsTestSuite: test_docs, test_tutorials
python → PythonTestSuite: test_python
jit_legacy → JitTestSuite: test_jit, test_jit_legacy
benchmark → BenchmarkTestSuite: test_benchmarks
huggingface → BenchmarkTestSuite: test_benchmarks, test_huggingface
torchbench → BenchmarkTestSuite: test_benchmarks, test_torchbench
timm → BenchmarkTestSuite: test_benchmarks, test_timm
distributed → DistributedTestSuite: test_distributed, test_c10d_nccl, test_c10d_gloo
inductor_distributed → InductorTestSuite: test_inductor, test_inductor_distributed
inductor_cpp_wrapper → InductorTestSuite: test_inductor, test_inductor_cpp_wrapper
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The example as a repository of its own, so that runs leave nothing in this one."""
    folder = tmp_path_factory.mktemp("example")
    ignored = shutil.ignore_patterns(".ci-runner", ".pytest_cache", "__pycache__", "ci-runner.local.toml")
    shutil.copytree(EXAMPLE, folder / "repo", ignore=ignored)
    (folder / "home").mkdir()
    project = Project(root=folder / "repo", home=folder / "home")
    project.git("init", "-q", "-b", "main")
    project.commit("Start")
    return project


def run(project: Project, *words: str) -> Ended:
    """`ci-runner run` with this interpreter for the tests."""
    return project.ci("run", *words, CI_RUNNER_MACHINES__LOCAL__PYTHON=sys.executable)


def test_the_dry_run_says_suite_title_and_tests_of_each(example: Project) -> None:
    there = example.ci("run", "--dry-run", "--all", cwd=EXAMPLE)  # as a reader of the page does
    assert (there.code, there.err) == (0, "")
    assert there.out == DRY_RUN
    assert run(example, "--dry-run", "--all").out == DRY_RUN
    assert not (example.root / ".ci-runner").exists()


def test_the_documentation_suite_is_green(example: Project) -> None:
    ended = run(example, "docs_test")
    assert ended.code == 0, ended
    record = example.load("record.json")
    assert record["test_suite"] == "docs_test"
    assert record["verdict"] == "passed"
    results = dict(record["results"])
    assert results.pop("passed") >= 4
    assert set(results.values()) == {0}


def test_the_figures_of_the_benchmark_reach_the_record(example: Project) -> None:
    ended = run(example, "benchmark")
    assert ended.code == 0, ended
    metrics = example.load("record.json")["metrics"]
    assert sorted(metrics) == ["matmul_32_per_second", "matmul_8_per_second"]
    assert metrics["matmul_8_per_second"] > metrics["matmul_32_per_second"] > 0


def test_a_suite_runs_what_it_inherits_and_what_it_adds(example: Project) -> None:
    ended = run(example, "inductor_cpp_wrapper", "--format", "json")
    assert ended.code == 0, ended
    text = (example.last_run() / "junit.xml").read_text(encoding="utf-8")
    assert "test_inductor_cpp_wrapper" in text
    assert "test_inductor." in text or 'test_inductor"' in text
