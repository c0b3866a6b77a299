"""The step of actions that tells what came of it, sets the outputs, and says whether that is red."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.cli.action import command, give, keep_records, temporary, with_library, words_for

if TYPE_CHECKING:
    from ci_runner.cli.action_table import Action

NUMBERS = ("tests", "passed", "failed", "errored", "skipped", "flaky", "missing")
MOST_FILES = 10_000


def report(action: Action, values: Mapping[str, str], began: Mapping[str, str]) -> int:
    """Join, compare, tell; the exit code is what `fail-on` makes of the verdict's."""
    from ci_runner.execution.folder import new_run_id

    base = temporary(os.environ)
    out = base / "reports" / f"{action.name}-{new_run_id(time.time())}"
    prepare(action, values, began, base)
    paths = results_of(action, values, base)
    out.mkdir(parents=True)
    code, told = tell(action, values, paths, out)
    give(os.environ, outputs_of(told, out))
    return judged(values["fail-on"], code, told)


def prepare(action: Action, values: Mapping[str, str], began: Mapping[str, str], base: Path) -> None:
    """Have GitHub's library where GitHub is asked, and no token where it is not.

    Without a configured history, what there is to compare with is on a branch, which GitHub gives.
    """
    place = base / "history"
    settings = keep_records(values, base, os.environ)
    is_kept = settings.stores["history"] != str(place)
    if not os.environ.get("GITHUB_TOKEN"):
        return
    if not (is_kept or asks_github(values)):
        del os.environ["GITHUB_TOKEN"]
        return
    if not is_kept:
        del os.environ["CI_RUNNER_STORES__HISTORY"]
    with_library(action, "report", began)


def asks_github(values: Mapping[str, str]) -> bool:
    """Whether what is wanted takes GitHub's API; scripts/action installs the library for it then."""
    words = ("comment", "check", "issue", "history")
    return values["fail-on"] == "new" or any(word in values["publish"] for word in words)


def results_of(action: Action, values: Mapping[str, str], base: Path) -> list[Path]:
    """Where the results are. Raises ResultsError if there are none to be told of."""
    from ci_runner.errors import ResultsError

    if "results-folder" in values:
        folder = Path(values["results-folder"])
        if not values["results-folder"] or not (folder / "plan.json").is_file():
            raise ResultsError("nothing ran", fix="read what the step before this one says")
        return [folder]
    given = [Path(line.strip()).absolute() for line in values["results"].splitlines() if line.strip()]
    found = [*given, *matching(values["files"].splitlines(), Path.cwd())]
    if not found and not values["results"] and not values["files"]:
        found = [base / "runs"]
    if not found or not (values["plan"] or any(path.exists() for path in found)):
        raise ResultsError(
            "there are no results to be told of",
            where=f"inputs of the action {action.name}",
            fix="name run folders in results or JUnit files in files, and see that their artifacts were downloaded",
        )
    return found


def matching(lines: Iterable[str], folder: Path) -> list[Path]:
    """The files that the patterns mean, sorted. Raises UsageError for a pattern that matches no file, or too many."""
    from ci_runner.errors import UsageError
    from ci_runner.github.commands import one_line

    found: dict[Path, None] = {}
    for line in filter(None, map(str.strip, lines)):
        pattern = line.removeprefix("!").strip()
        matches = [path for path in globbed(pattern, folder) if path.is_file()]
        if line.startswith("!"):
            found = {path: None for path in found if path not in set(matches)}
            continue
        if not matches:
            raise UsageError(
                f'no file is meant by "{one_line(pattern, 120)}"',
                where="input files",
                fix="see that the tests wrote it, or take the line away",
            )
        found |= dict.fromkeys(sorted(matches))
        if len(found) > MOST_FILES:
            raise UsageError(
                f"more than {MOST_FILES:,} files are meant", where="input files", fix="narrow the patterns"
            )
    return list(found)


def globbed(pattern: str, folder: Path) -> list[Path]:
    """The paths that one pattern means, below the folder unless it begins with a slash."""
    from ci_runner.errors import UsageError
    from ci_runner.github.commands import one_line

    path = Path(pattern + ("/*" if pattern.endswith("**") else ""))
    try:
        if path.is_absolute():
            return list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        return list(folder.glob(str(path)))
    except (ValueError, NotImplementedError, OSError, IndexError) as error:
        raise UsageError(
            f'"{one_line(pattern, 120)}" is no pattern: {error}',
            where="input files",
            fix="write it as junit/**/*.xml",
        ) from error


def tell(
    action: Action, values: Mapping[str, str], paths: list[Path], out: Path
) -> tuple[int, dict[str, Any]]:
    """Run `report`; its exit code and its object. The summary is kept as a file besides."""
    from ci_runner.cli.action_run import part_name

    part = values["comment-part"] or (
        part_name(values, action, os.environ) if action.name != "report" else ""
    )
    words = [
        "--format=json",
        f"--out={out}",
        f"--publish={','.join(values['publish'].replace(',', ' ').split())}",
        *words_for("report", action, values),
        *([f"--comment-part={part}"] if part else []),
        "--results",
        *map(str, paths),
    ]
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    summary = out / "summary.md"
    os.environ["GITHUB_STEP_SUMMARY"] = str(summary)
    printed = StringIO()
    with redirect_stdout(printed):
        code = command("report", *words)
    (out / "report.json").write_text(printed.getvalue(), encoding="utf-8", errors="backslashreplace")
    if page and summary.is_file():
        with Path(page).open("ab") as file:
            file.write(summary.read_bytes())
    return code, json.loads(printed.getvalue())


def outputs_of(told: Mapping[str, Any], out: Path) -> dict[str, str]:
    """The outputs as text."""
    summary = out / "summary.md"
    leases = [
        lease["id"]
        for suite in told["suites"]
        for lease in suite["leases"]
        if lease["machine_spec"]["provider"] != "local"
    ]
    return {
        "conclusion": str(told["verdict"]),
        **{name: str(told[name]) for name in NUMBERS},
        "duration-seconds": plain(told["duration_seconds"]),
        "cost-usd": plain(told["cost_usd"]),
        "report-json": str(out / "report.json"),
        "summary-file": str(summary) if summary.is_file() else "",
        "comment-url": str(told.get("comment_url") or ""),
        "lease-id": " ".join(dict.fromkeys(leases)),
    }


def plain(number: float) -> str:
    """A number as every reader takes it: no exponent, no zeros at the end."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def judged(fail_on: str, code: int, told: Mapping[str, Any]) -> int:
    """The exit code of the step; what would be red and is not is said."""
    from ci_runner.errors import OK, TESTS_FAILED

    known = len(told["comparison"]["still"]) if not told["comparison"]["new"] else 0
    tests_alone = code == TESTS_FAILED
    forgiven = {
        "failure": False,
        "new": tests_alone and told["failed"] + told["errored"] <= known,
        "incomplete": tests_alone,
        "never": True,
    }[fail_on]
    if code == OK or not forgiven:
        return code
    print(f"exit {code} is green here, since fail-on is {fail_on}")
    return OK
