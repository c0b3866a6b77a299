"""Cost of `results summarize` beside a bare expat pass, and its memory. Run: python tests/bench/bench_results.py."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.parsers import expat

ROOT = Path(__file__).parents[2]
PAIRS = int(os.environ.get("BENCH_PAIRS", "7"))
CASES, MANY = 100_000, 1_000_000
RATIO = 1.3  # CPU time of summarize, without its imports, over that of the bare pass: median of the pairs
PEAK_MB = 80.0
GROWTH_MB = 40.0  # the filter for names beyond the first 131,072 takes 32 MiB, however many there are
TRACE = "def test_forward(model):\n&gt;   assert run({n}) == {m}\nE   AssertionError: assert {n} == {m}\n\na.py:{n}"


def generate(path: Path, cases: int, *, red: int, skipped: int) -> None:
    """A file as pytest writes it, with so many failed and skipped cases spread over it."""
    every_red, every_skip = cases // red, cases // skipped
    with path.open("w", encoding="utf-8") as file:
        file.write(
            '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests"><testsuite name="pytest" '
        )
        file.write(
            f'errors="0" failures="{red}" skipped="{skipped}" tests="{cases}" time="812.4" hostname="vm">'
        )
        for n in range(cases):
            case = (
                f'<testcase classname="tests.models.layer_{n % 97}.test_attention_kernels.TestFlash{n % 31}" '
                f'file="tests/models/test_kernels.py" name="test_forward_matches_reference[bfloat16-heads{n % 16}-{n}]" '
                f'time="{n % 977 / 1000:.3f}"'
            )
            if n % every_red == 1:
                text = TRACE.format(n=n, m=n + 1)
                file.write(
                    f'{case}><failure message="AssertionError: assert {n} == {n + 1}">{text}</failure></testcase>'
                )
            elif n % every_skip == 2:
                file.write(
                    f'{case}><skipped type="pytest.skip" message="needs a TPU">needs a TPU</skipped></testcase>'
                )
            else:
                file.write(f"{case} />")
        file.write("</testsuite></testsuites>")


def bare(path: Path) -> int:
    """The least that a reader can do which keeps every case."""
    cases: list[list[object]] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "testcase":
            cases.append([attributes, "passed"])
        elif tag in ("failure", "error", "skipped"):
            cases[-1][1] = tag

    def end(_tag: str) -> None:
        return

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    with path.open("rb") as file:
        while piece := file.read(1 << 16):
            parser.Parse(piece, False)
    parser.Parse(b"", True)
    return len(cases)


def ours(path: Path) -> int:
    """What `results summarize` calls."""
    from ci_runner.results.summary import summarize

    return summarize([path]).counts.tests


def child(what: str, path: Path) -> None:
    """Measure one pass in this process."""
    if what == "ours":
        import ci_runner.results.summary  # noqa: F401 - imports are not what is compared
    before = time.process_time()
    tests = bare(path) if what == "bare" else ours(path)
    seconds = time.process_time() - before
    # ru_maxrss would tell of the process that started this one, if that was bigger.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"tests": tests, "seconds": seconds, "peak": peak}))


def measured(what: str, path: Path) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of one pass in a fresh process."""
    command = [sys.executable, __file__, what, str(path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
    value = json.loads(done.stdout)
    if value["tests"] not in (CASES, MANY):
        raise SystemExit(f"{what} counted {value['tests']} tests")
    return float(value["seconds"]), float(value["peak"])


def whole_command(path: Path) -> float:
    """CPU seconds of the command, with the start of Python and all imports."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "ci_runner", "results", "summarize", str(path)]
    subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print what was measured; 1 if a target is missed."""
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name) / "small.xml", Path(name) / "large.xml"
        generate(small, CASES, red=CASES // 100, skipped=CASES // 50)
        generate(
            large, MANY, red=CASES // 100, skipped=CASES // 50
        )  # ten times the passed ones, the others as before
        pairs = [
            (measured("bare", small), measured("ours", small), whole_command(small)) for _ in range(PAIRS)
        ]
        many, many_bare = measured("ours", large), measured("bare", large)
        size = small.stat().st_size / 1e6
    ratio = statistics.median(mine[0] / plain[0] for plain, mine, _ in pairs)
    plain_s = statistics.median(plain[0] for plain, _, _ in pairs)
    mine_s = statistics.median(mine[0] for _, mine, _ in pairs)
    command_s = statistics.median(pair[2] for pair in pairs)
    peak = max(mine[1] for _, mine, _ in pairs)
    print(
        f"{CASES:,} cases, {size:.1f} MB: bare {plain_s:.3f} s, summarize {mine_s:.3f} s, the command {command_s:.3f} s"
    )
    print(
        f"CPU time over bare expat {ratio:.2f} (target {RATIO}); the whole command {command_s / plain_s:.2f}"
    )
    print(f"peak memory {peak:.1f} MB (target {PEAK_MB:g})")
    print(f"{MANY:,} cases: bare {many_bare[0]:.2f} s, summarize {many[0]:.2f} s")
    growth = many[1] - peak
    print(f"peak memory {many[1]:.1f} MB (target {PEAK_MB:g}), {growth:.1f} MB more (target {GROWTH_MB:g})")
    missed = ratio > RATIO or peak > PEAK_MB or many[1] > PEAK_MB or growth > GROWTH_MB
    print("a target is missed" if missed else "all targets are met")
    return int(missed)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        child(sys.argv[1], Path(sys.argv[2]))
    else:
        sys.exit(main())
