"""Cost of `report`: 100,000 cases in 20 files, a base, all surfaces. Run: python tests/bench/bench_report.py."""

from __future__ import annotations

import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES, CASES, RED = 20, 5_000, 50
CPU_SECONDS, PEAK_MB, PASSES = 1.5, 120.0, 5
COMMIT, BASE = "a" * 40, "b" * 40


def generate(folder: Path) -> None:
    """Twenty files of JUnit, and a history in which each of their suites ran at the base with half of the failures."""
    sys.path.insert(0, str(ROOT))
    from ci_runner.history.store import FolderStore
    from ci_runner.model import Event
    from ci_runner.report.files import publish_records
    from ci_runner.report.loading import load_run

    for number in range(FILES):
        for name, red in (("junit", RED), ("base", RED // 2)):
            path = folder / name / f"suite-{number:02}.xml"
            path.parent.mkdir(exist_ok=True)
            with path.open("w", encoding="utf-8") as file:
                file.write('<testsuites><testsuite name="pytest">')
                for n in range(CASES):
                    case = (
                        f'<testcase classname="tests.test_kernels.TestFlash{n % 31}" '
                        f'name="test_forward[heads{n % 16}-{n}]" time="{n % 977 / 1000:.3f}"'
                    )
                    if n < red:
                        text = f"def test():\n&gt; assert {n} == {n + 1}\nE assert {n} == {n + 1}\n\na.py:{n}"
                        file.write(
                            f'{case}><failure message="assert {n} == {n + 1}">{text}</failure></testcase>'
                        )
                    else:
                        file.write(f"{case} />")
                file.write("</testsuite></testsuites>")
    base = load_run(folder / "base")
    event = Event(kind="push", branch="main", commit=BASE)
    base = dataclasses.replace(
        base,
        run_id="20261122-020000-0a0b",
        started_at=1_795_450_000.0,
        plan=dataclasses.replace(base.plan, event=event),
    )
    publish_records(base, FolderStore(folder / "store"))


def child(folder: Path) -> None:
    """One report of everything in this process; what it cost, as JSON."""
    import ci_runner.report.page
    from ci_runner.checks.compare import compare
    from ci_runner.history.base import find_bases
    from ci_runner.history.store import FolderStore
    from ci_runner.model import Event
    from ci_runner.report.annotations import annotations_of, as_commands
    from ci_runner.report.check import check_of
    from ci_runner.report.comment import Context, part_of
    from ci_runner.report.loading import join, load_run
    from ci_runner.report.parts import assemble
    from ci_runner.report.summary import render_summary_markdown

    before = time.process_time()
    joined = join([load_run(folder / "junit")])
    event = Event(
        kind="pull_request", pull_request=7, commit=COMMIT, base_branch="main", repository="org/kpt"
    )
    result = dataclasses.replace(joined.result, plan=dataclasses.replace(joined.result.plan, event=event))
    names = [suite.selection.suite.name for suite in result.suites]
    store = FolderStore(folder / "store")
    comparison = compare(result.suites, find_bases(store, names, [BASE], branch="main"))
    context = Context(comparison=comparison)
    comment = assemble("tests", [part_of("tests", result, context)])
    surfaces = [
        comment,
        render_summary_markdown(result),
        check_of("ci", result, context).summary,
        "\n".join(as_commands(annotations_of(result, context.comparison))),
        ci_runner.report.page.render_page(result),
    ]
    seconds = time.process_time() - before
    new = len(context.comparison.new)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak_mb": peak,
                "tests": result.counts.tests,
                "new": new,
                "sizes": [len(s) for s in surfaces],
            }
        )
    )


def rival(folder: Path) -> float:
    """Seconds of CPU that junitparser takes to read the same files and do nothing with them."""
    code = (
        "import sys, time, pathlib, junitparser; t = time.process_time()\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.xml')):\n"
        "    sum(1 for suite in junitparser.JUnitXml.fromfile(str(path)) for case in suite)\n"
        "print(time.process_time() - t)"
    )
    words = [sys.executable, "-c", code, str(folder / "junit")]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    """Measure, print, and fail over a limit."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        generate(folder)
        words = [sys.executable, __file__, "--child", str(folder)]
        passes, theirs = [], []
        for _ in range(PASSES):
            done = subprocess.run(
                words, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
            )
            passes.append(json.loads(done.stdout))
            theirs.append(rival(folder))
    first = passes[0]
    if first["tests"] != FILES * CASES or first["new"] != FILES * RED // 2:
        print(f"wrong: {first}")
        return 1
    seconds = min(item["seconds"] for item in passes)
    peak = max(item["peak_mb"] for item in passes)
    ratio = statistics.median(item["seconds"] / other for item, other in zip(passes, theirs, strict=True))
    print(
        f"{FILES * CASES:,} cases in {FILES} files, {first['new']} new failures, surfaces of {first['sizes']} characters"
    )
    print(f"report      {seconds:6.2f} s of CPU (limit {CPU_SECONDS}), {peak:5.0f} MB (limit {PEAK_MB:.0f})")
    print(f"junitparser {min(theirs):6.2f} s of CPU to read alone; median ratio {ratio:.2f}")
    return int(seconds > CPU_SECONDS or peak > PEAK_MB)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]))
    else:
        sys.exit(main())
