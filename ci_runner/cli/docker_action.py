"""`python -m ci_runner.cli.docker_action ACTION STEP`: one phase of a Docker action, with its inputs in INPUT_* variables.

The phases share nothing: whose machines are meant follows from the variables of the run alone (ci_runner/github/job.py).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import redirect_stdout
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_runner.cli.action import PREFIX, command, enter, give, is_true, take_inputs, temporary, words_for
from ci_runner.cli.docker_table import DOCKER

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings

CLOUDS = ("aws-ec2", "gcp-tpu")  # what the image has libraries for
SCOPES = {"job": "job", "run": "workflow"}  # input scope → machines release --github
HOPELESS = (0, 2, 5)  # done, or no more so when it is asked again: usage, and credentials that are refused
TRIES = 3
PAUSE = 5.0


def main(argv: Sequence[str]) -> int:
    """Read the inputs, do the phase; whatever an error says is harmless on a runner's log."""
    from ci_runner.errors import CANCELLED, CiRunnerError
    from ci_runner.github.commands import neutralise

    name, step = argv
    action, phases = DOCKER[name], {"main": guard, "release": release, "reap": reap}
    with_underscores(os.environ)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(
            line_buffering=True
        )  # so that both streams come in the order in which they are written
    try:
        values = take_inputs(action, step, os.environ)
        go_where_settings_are(values, os.environ)
        if values["aws-regions"]:
            os.environ["CI_RUNNER_AWS_REGIONS"] = values["aws-regions"]
        keep_nothing(os.environ)
        return phases[step](values)
    except CiRunnerError as error:
        print(neutralise("\n".join(error.lines())), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ci-runner: cancelled", file=sys.stderr)
        return CANCELLED


def with_underscores(environ: MutableMapping[str, str]) -> None:
    """GitHub gives a Docker action INPUT_DRY-RUN for the input dry-run; composite ones have INPUT_DRY_RUN."""
    for name in [name for name in environ if name.startswith(PREFIX) and "-" in name]:
        environ[name.replace("-", "_")] = environ.pop(name)


def go_where_settings_are(values: Mapping[str, str], environ: MutableMapping[str, str]) -> None:
    """The working directory; if the clouds are named, a place without a configuration: no checkout can spoil a release."""
    if values["providers"] and not values["config"]:
        os.chdir(temporary(environ))
    else:
        enter(values["working-directory"], environ)


def keep_nothing(environ: MutableMapping[str, str]) -> None:
    """The book of leases stays in the container: its bucket may be unreachable, and machines are found by label."""
    environ["CI_RUNNER_STORES__HISTORY"] = str(temporary(environ) / "history")


def guard(values: Mapping[str, str]) -> int:
    """Ask every cloud now for what is this job's, so that nothing is leased that could not be given back."""
    from ci_runner.cli import clouds
    from ci_runner.github.commands import one_line
    from ci_runner.report.words import plural

    names, identity = clouds_of(values), identity_of(values["scope"], os.environ)
    answer = clouds.ask(names)
    silent = answer.complain()
    if silent:
        return silent
    held = [lease for _, lease in answer.leases if lease.labels.get("job", "").startswith(identity)]
    whose = "of this job" if values["scope"] == "job" else "of any job of this workflow run"
    print(f"at the end of this job every machine {whose} is given back ({', '.join(names)}: {identity})")
    print(f"it has {plural(len(held), 'machine')} now" + (":" if held else ""))
    for lease in held:
        print(f"  {one_line(lease.id)} {lease.machine.provider} {one_line(lease.zone or '', 40)}")
    give(os.environ, {"identity": identity})
    return 0


def release(values: Mapping[str, str], sleep: Callable[[float], object] = time.sleep) -> int:
    """Give back whatever is left; a cloud that does not answer is asked again."""
    from ci_runner.errors import CiRunnerError
    from ci_runner.github.commands import neutralise

    words = ["machines", "release", f"--github={SCOPES[values['scope']]}"]
    words += [*(f"--provider={name}" for name in clouds_of(values)), *config_words(values)]
    for number in range(1, TRIES):
        try:
            code = command(*words)
            if code in HOPELESS:
                return code
        except CiRunnerError as error:
            if error.exit_code in HOPELESS:
                raise
            print(neutralise("\n".join(error.lines())), file=sys.stderr)
        print(f"asking again in {PAUSE * number:g} s", file=sys.stderr, flush=True)
        sleep(PAUSE * number)
    return command(*words)


def reap(values: Mapping[str, str]) -> int:
    """Visit the clouds; what the emergency stop wrote down becomes the summary of the step."""
    minutes = temporary(os.environ) / "post-mortem.md"
    words = [f"--provider={name}" for name in clouds_of(values)]
    words += words_for("reap", DOCKER["reap"], {**values, "providers": ""})
    if is_true(values["all"]):
        words += ["--yes", f"--post-mortem={minutes}"]
    said = StringIO()
    with redirect_stdout(said):
        code = command("reap", "--format=json", *words)
    found = json.loads(said.getvalue())
    print("\n".join(told(found)))
    give(os.environ, {name: str(found[name]) for name in ("listed", "marked", "deleted", "failed")})
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and minutes.is_file():
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(minutes.read_text(encoding="utf-8"))
    return code


def told(found: Mapping[str, Any]) -> list[str]:
    """What came of a visit: a line for each machine that was not kept, and the sum."""
    from ci_runner.github.commands import one_line
    from ci_runner.report.words import plural

    lines = [
        " ".join(one_line(str(each[name] or ""), 63) for name in ("lease_id", "provider", "type", "zone"))
        + f": {each['step']}, {each['result']}"
        + (f": {one_line(each['error'], 200)}" if each["error"] else "")
        for each in found["machines"]
    ]
    if found["dry_run"]:
        return [*lines, f"{plural(found['listed'], 'machine')} of ours; nothing was changed"]
    counts = ", ".join(f"{found[name]} {name}" for name in ("kept", "marked", "deleted", "failed"))
    return [*lines, f"{plural(found['listed'], 'machine')} of ours: {counts}"]


def clouds_of(values: Mapping[str, str]) -> list[str]:
    """The clouds to ask. Raises UsageError for what is no cloud, and if there is none."""
    from ci_runner.cli import clouds
    from ci_runner.errors import UsageError

    named = values["providers"].replace(",", " ").split()
    asked = clouds.names_for(settings_of(values), named)
    other = next((name for name in asked if named and name not in CLOUDS), None)
    if other:
        raise UsageError(
            f"{other} is no cloud", where="input providers", fix=f"name some of: {', '.join(CLOUDS)}"
        )
    found = [name for name in asked if name in CLOUDS]
    if not found:
        raise UsageError(
            "nothing says which clouds to ask: the configuration has no machine of one",
            where="input providers",
            fix=f"name them in the input providers ({', '.join(CLOUDS)}), or check the repository out first",
        )
    return found


def settings_of(values: Mapping[str, str]) -> Settings:
    """The configuration."""
    from ci_runner.config.load import load_settings

    file = Path(values["config"]) if values["config"] else None
    return load_settings(Path.cwd(), environ=os.environ, config_file=file)


def config_words(values: Mapping[str, str]) -> list[str]:
    """The option that names the configuration."""
    return [f"--config={values['config']}"] if values["config"] else []


def identity_of(scope: str, environ: Mapping[str, str]) -> str:
    """How the names of the jobs begin whose machines are meant. Raises UsageError outside of GitHub Actions."""
    from ci_runner.errors import UsageError
    from ci_runner.github.job import job_of, workflow_run_of

    found = job_of(environ) if scope == "job" else workflow_run_of(environ)
    if not found:
        raise UsageError("GITHUB_RUN_ID is not set", fix="Docker actions run in GitHub Actions")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
