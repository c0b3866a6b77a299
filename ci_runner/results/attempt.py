"""Everything that one attempt left, read and checked against itself: sidecar, JUnit files, exit code, end state."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ci_runner.model import Attempt, AttemptState, CaseResult, Outcome, Problem, Runner, Suite
from ci_runner.results.junit import JunitContent, read_junit
from ci_runner.results.sidecar import RERUN, SidecarLog, case_of, junit_name, read_sidecar

RED = (Outcome.FAILED, Outcome.ERRORED)
STACKS_LIMIT = 256 * 1024
NAMED = 3  # examples in a problem's text
OWN_JUNIT = "pytest.xml"
NO_TESTS = 5
PYTEST_EXITS = {
    2: "pytest was interrupted",
    3: "pytest reported an internal error",
    4: "pytest did not understand its command line or configuration",
}
ENDS = {
    AttemptState.RUNNING: ("interrupted", "ci-runner itself was killed while it ran"),
    AttemptState.TIMED_OUT: ("timeout", "took too long"),
    AttemptState.SETUP_FAILED: ("setup", "could not be set up"),
    AttemptState.RUNNER_FAILED: ("runner", "the runner broke"),
    AttemptState.PREEMPTED: ("preempted", "the machine was taken away"),
    AttemptState.CANCELLED: ("cancelled", "cancelled"),
    AttemptState.KILLED: ("killed", "killed by a signal"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What an attempt is known to have come to; `expected` is None if nothing says which tests there should be."""

    cases: tuple[CaseResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    expected: tuple[str, ...] | None = None
    stacks: str | None = None
    sessions: int = 0  # processes that announced themselves in the sidecar
    started: int = 0  # tests that began, as the sidecar tells
    bad_lines: int = 0  # of the sidecar
    exit_status: int | None = None  # what pytest said that it would exit with


def collect(folder: Path, *, suite: Suite, attempt: Attempt) -> Collected:
    """Read the folder of an attempt that is over, or whose ci-runner is gone. Raises nothing for what is in it."""
    if attempt.runner is Runner.PYTHON and suite.command is None and (folder / "workers").is_dir():
        from ci_runner.results.workers import collect_workers

        return collect_workers(folder / "workers", suite=suite, attempt=attempt, collect_one=collect)
    files = [
        read_junit(path, suite=suite.name, attempt=attempt.id, keep_passed=True)
        for path in junit_files(folder)
    ]
    stacks = _stacks(folder / "stacks.txt")
    log = read_sidecar(folder / "sidecar.jsonl")
    if suite.command is None and attempt.runner is Runner.PYTHON:
        found = _from_sidecar(log, files, suite, attempt)
    else:
        found = _from_files(files, suite, attempt)
    return dataclasses.replace(
        found,
        stacks=stacks,
        sessions=len(log.sessions),
        started=len(log.ended) + len(log.running),
        bad_lines=log.bad_lines,
        exit_status=log.exit_status,
    )


# what a shell means by these, with the way out of it
SHELL_SAYS = {
    126: ": a program of its command may not be run\nfix: make it executable (chmod +x)",
    127: ": a program of its command was not found\nfix: install it, or put its folder on PATH; setup can do that",
}


def junit_files(folder: Path) -> list[Path]:
    """The JUnit files of an attempt, in a stable order."""
    return sorted(
        path for path in (folder / "junit").glob("*") if path.is_file() and not path.name.startswith(".")
    )


def _stacks(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            text = file.read(STACKS_LIMIT).decode("utf-8", "replace").strip()
    except OSError:
        return None
    return text or None


def _end(attempt: Attempt, running: Sequence[str] = ()) -> list[Problem]:
    """The problem of an attempt that did not simply end."""
    if attempt.state is AttemptState.FINISHED:
        return []
    kind, text = ENDS[attempt.state]
    text = attempt.reason or text
    if running:
        text += f"; running at that moment: {', '.join(running[:NAMED])}"
    return [Problem(kind=kind, text=text, file=attempt.log)]


# -- a suite that only leaves files


def _from_files(files: Sequence[JunitContent], suite: Suite, attempt: Attempt) -> Collected:
    cases = _told_apart(case for content in files for case in content.cases)
    problems = [problem for content in files for problem in content.problems]
    problems += _end(attempt)
    finished = attempt.state is AttemptState.FINISHED
    if finished and not files:
        where = (
            f"no file matches {', '.join(suite.junit)}" if suite.junit else "the suite names no junit files"
        )
        where = "the shell runner wrote none" if attempt.runner is Runner.SHELL else where
        problems.append(Problem(kind="no-results", text=f"left no JUnit file ({where})", file=attempt.log))
    if finished:
        problems += _exit_against_cases(attempt.exit_code, cases, attempt)
    metrics = {name: value for content in files for name, value in content.metrics.items()}
    metrics |= _metrics(cases)
    return Collected(cases=tuple(cases), problems=tuple(problems), metrics=metrics)


def _told_apart(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """Each with an id of its own: in one attempt, equal names in several suites or files are several tests."""
    times: dict[str, int] = {}
    taken: set[str] = set()
    found = []
    for case in cases:
        name = case.id
        while name in taken:
            times[case.id] = times.get(case.id, 1) + 1
            name = f"{case.id} [{times[case.id]}]"
        taken.add(name)
        found.append(case if name == case.id else dataclasses.replace(case, id=name))
    return found


def _exit_against_cases(code: int | None, cases: Iterable[CaseResult], attempt: Attempt) -> list[Problem]:
    """A command that failed without a failing case, or the other way round."""
    red = any(case.outcome in RED for case in cases)
    if code == 0 and red:
        text = "ended with exit code 0 although tests failed"
        return [Problem(kind="exit-code", text=text, file=attempt.log, fatal=False)]
    if code not in (0, None) and not red:
        text = f"ended with exit code {code}{SHELL_SAYS.get(code, ' although no test failed')}"
        return [Problem(kind="exit-code", text=text, file=attempt.log)]
    return []


def _metrics(cases: Iterable[CaseResult]) -> dict[str, float]:
    return {name: value for case in cases for name, value in case.metrics.items()}


# -- a suite that our plugin watched


def _from_sidecar(
    log: SidecarLog, files: Sequence[JunitContent], suite: Suite, attempt: Attempt
) -> Collected:
    cases = finished_cases(log, suite=suite.name, attempt=attempt.id)
    names = {case.id for case in cases}
    missing = [test for test in log.collected or () if test not in names]
    running = [test for test in log.running if test not in names]
    listing = attempt.kind == "collect"
    if not listing:
        order = dict.fromkeys((*missing, *running))
        cases += [_missing(test, test in log.running, suite.name, attempt.id) for test in order]
    problems = [*_end(attempt, running), *_of_log(log, attempt)]
    if not listing:
        if missing or running:
            problems.append(_never_ran(missing, running, attempt))
        if attempt.state is AttemptState.FINISHED:
            problems += _of_exit(log, cases, attempt)
            problems += _of_files(cases, files, attempt)
    return Collected(
        cases=tuple(cases),
        problems=tuple(problems),
        metrics=_metrics(cases),
        expected=log.collected,
    )


def finished_cases(log: SidecarLog, *, suite: str, attempt: str) -> list[CaseResult]:
    """One case for each test that ended; several ends of one test are its tries, of which the last counts."""
    tries: dict[str, list[CaseResult]] = {}
    for end in log.ended:
        case = case_of(end, suite=suite, attempt=attempt)
        tries.setdefault(end.id, []).append(case)
    open_again = {end.id for end in log.ended if end.outcome == RERUN} & set(log.running)
    cases = []
    for test, ends in tries.items():
        if test in open_again:
            continue  # it failed, was begun again and never came to an end
        *earlier, last = ends
        earlier = [case for case in earlier if case.outcome in RED]
        flaky = bool(earlier) and last.outcome is Outcome.PASSED
        cases.append(dataclasses.replace(last, earlier=tuple(earlier), flaky=flaky) if earlier else last)
    return cases


def _missing(test: str, interrupted: bool, suite: str, attempt: str) -> CaseResult:
    classname, name = junit_name(test)
    return CaseResult(
        id=test,
        outcome=Outcome.MISSING,
        suite=suite,
        name=name,
        classname=classname,
        file=test.partition("::")[0],
        message="was running when the attempt ended" if interrupted else "never ran",
        attempt=attempt,
        interrupted=interrupted,
    )


def _never_ran(missing: Sequence[str], running: Sequence[str], attempt: Attempt) -> Problem:
    never = [test for test in missing if test not in running]
    parts = []
    if running:
        parts.append(f"{', '.join(running[:NAMED])} did not end")
    if never:
        more = f" and {len(never) - NAMED} more" if len(never) > NAMED else ""
        parts.append(f"never ran: {', '.join(never[:NAMED])}{more}")
    return Problem(kind="missing-tests", text="; ".join(parts), file=attempt.log)


def _of_log(log: SidecarLog, attempt: Attempt) -> list[Problem]:
    """What is wrong with the sidecar itself."""
    found = []
    if log.bad_lines:
        text = f"{log.bad_lines} lines of the sidecar cannot be read"
        fatal = log.bad_lines >= len(log.sessions)  # a killed xdist worker tears at most one
        found.append(Problem(kind="sidecar", text=text, file=f"{attempt.folder}/sidecar.jsonl", fatal=fatal))
    if log.unknown:
        text = f"no such test: {', '.join(log.unknown[:NAMED])}"
        text += "\nfix: name it as the report or pytest --collect-only does"
        found.append(Problem(kind="unknown-test", text=text))
    if attempt.state is AttemptState.FINISHED and log.sessions and log.collected is None:
        text = f"pytest ended (exit {attempt.exit_code}) before it had collected the tests"
        found.append(Problem(kind="no-collection", text=text, file=attempt.log))
    return found


def _of_exit(log: SidecarLog, cases: Sequence[CaseResult], attempt: Attempt) -> list[Problem]:
    """Exit code against cases and against what pytest said it would exit with."""
    code = attempt.exit_code
    if log.exit_status is None and log.sessions:
        text = f"the process ended (exit {code}) before pytest had finished: "
        text += attempt.reason or "something in the tests ended it"
        return [Problem(kind="exit-code", text=text, file=attempt.log)]
    if log.exit_status is not None and code != log.exit_status:
        text = f"pytest finished with {log.exit_status}, and its process ended with {code}"
        return [Problem(kind="exit-code", text=text, file=attempt.log)]
    if code in PYTEST_EXITS:
        return [Problem(kind="exit-code", text=f"{PYTEST_EXITS[code]} (exit {code})", file=attempt.log)]
    if code == NO_TESTS:
        return []  # an empty selection; the verdict says what that means
    return _exit_against_cases(code, cases, attempt)


def _of_files(cases: Sequence[CaseResult], files: Sequence[JunitContent], attempt: Attempt) -> list[Problem]:
    """The JUnit file that pytest wrote against the sidecar: two witnesses of one run."""
    own = [content for content in files if Path(content.file).name == OWN_JUNIT]
    if not own:
        if attempt.exit_code not in (0, 1):
            return []
        text = "pytest left no JUnit file, so nothing confirms the sidecar"
        return [Problem(kind="no-results", text=text, file=attempt.log)]
    problems = [problem for content in own for problem in content.problems]
    told = _by_name((junit_name(case.id), case) for case in cases if case.outcome is not Outcome.MISSING)
    written = _by_name(((case.classname, case.name), case) for case in own[0].cases)
    if _tally(told) != _tally(written):
        text = f"JUnit and sidecar disagree: {_words(_tally(written))} against {_words(_tally(told))}"
        differ = [f"{name[0]}::{name[1]}" for name in _differing(told, written)][:NAMED]
        text += f" ({', '.join(differ)})" if differ else ""
        problems.append(Problem(kind="disagreement", text=text, file=f"{attempt.folder}/junit/{OWN_JUNIT}"))
    return problems


Names = Mapping[tuple[str, str], str]


def _by_name(pairs: Iterable[tuple[tuple[str, str], CaseResult]]) -> Names:
    """What each name came to, red before skipped before passed: pytest may write a test more than once."""
    found: dict[tuple[str, str], str] = {}
    for (classname, name), case in pairs:
        key = (xml_text(classname), xml_text(name))
        kind = "red" if case.outcome in RED else "skipped" if case.outcome is Outcome.SKIPPED else "passed"
        if "red" not in (kind, found.get(key)):
            kind = "skipped" if "skipped" in (kind, found.get(key)) else kind
        found[key] = "red" if "red" in (kind, found.get(key)) else kind
    return found


def xml_text(text: str) -> str:
    """The name as pytest's JUnit file shows it: what XML forbids is written as `#x1B`; its spaces are normalised."""
    if text.isprintable():  # nearly every name
        return text
    shown = "".join(
        char if _allowed(ord(char)) else f"#x{ord(char):0{2 if ord(char) <= 0xFF else 4}X}" for char in text
    )
    return shown.replace("\n", " ").replace("\t", " ").replace("\r", " ")


def _allowed(code: int) -> bool:
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0x7E
        or 0x80 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or code >= 0x10000
    )


def _tally(names: Names) -> dict[str, int]:
    tally = dict.fromkeys(("passed", "red", "skipped"), 0)
    for kind in names.values():
        tally[kind] += 1
    return tally


def _words(tally: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in tally.items())


def _differing(one: Names, other: Names) -> list[tuple[str, str]]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
