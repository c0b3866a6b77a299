"""`ci-runner doctor`: what a first run needs, looked at before anything is leased; each line with its fix."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ci_runner.config.settings import Settings
    from ci_runner.model import MachineSpec
    from ci_runner.providers.checkup import Check

EXAMPLE = "ci-runner doctor --machine tpu"
HERE = "here"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `doctor`."""
    from ci_runner.cli import doctor_setup

    parser.add_argument(
        "--machine",
        action="append",
        default=[],
        metavar="NAME",
        help="only this machine of the configuration (repeatable; default: all)",
    )
    parser.add_argument("--config", metavar="FILE", help="the configuration to use (default: found upwards)")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: one object on stdout"
    )
    doctor_setup.add_arguments(parser)


def run(arguments: Namespace) -> int:
    """Look at everything; 0 unless something failed, else the exit code that a run would have stopped with."""
    from ci_runner.cli import doctor_setup
    from ci_runner.errors import ConfigurationError
    from ci_runner.providers.checkup import Check

    if doctor_setup.is_wanted(arguments):
        return doctor_setup.run(arguments)
    sections: list[tuple[str, list[Check]]]
    try:
        settings = _settings(arguments)
    except ConfigurationError as error:
        text = "; ".join([error.what, *error.problems])
        sections = [
            (
                HERE,
                [Check.failed("configuration", text, error.fix or "see: ci-runner config show", exit_code=2)],
            )
        ]
    else:
        sections = _look(settings, chosen(settings, arguments.machine))
    print(json_text(sections) if arguments.format == "json" else "\n".join(lines(sections)))
    return exit_code([check for _, checks in sections for check in checks])


def _settings(arguments: Namespace) -> Settings:
    import os
    from pathlib import Path

    from ci_runner.config.load import load_settings

    file = Path(arguments.config) if arguments.config else None
    return load_settings(Path.cwd(), environ=os.environ, config_file=file)


def chosen(settings: Settings, names: Sequence[str]) -> list[MachineSpec]:
    """The machines to look at. Raises UsageError for a name that there is not."""
    import difflib

    from ci_runner.errors import UsageError
    from ci_runner.github.commands import one_line

    for name in names:
        if name not in settings.machines:
            near = difflib.get_close_matches(name, settings.machines, n=1)
            known = ", ".join(sorted(settings.machines))
            fix = f"perhaps you meant {near[0]}" if near else f"there are: {known}"
            raise UsageError(f'no machine is called "{one_line(name, 60)}"', fix=fix)
    return [settings.machines[name] for name in dict.fromkeys(names or sorted(settings.machines))]


def _look(settings: Settings, machines: Sequence[MachineSpec]) -> list[tuple[str, list[Check]]]:
    """All checks, those of the machines side by side."""
    import os
    from concurrent.futures import ThreadPoolExecutor

    from ci_runner.cli import doctor_checks as checks

    with ThreadPoolExecutor(max_workers=len(machines) + 1) as pool:
        here = pool.submit(checks.here, settings, machines, os.environ)
        found = [pool.submit(checks.machine, settings, machine, os.environ) for machine in machines]
        return [(HERE, here.result())] + [
            (machine.name, each.result()) for machine, each in zip(machines, found, strict=True)
        ]


def exit_code(checks: Sequence[Check]) -> int:
    """The worst code of what failed."""
    from ci_runner.providers.checkup import Health
    from ci_runner.results.whole import worst

    return worst(check.exit_code for check in checks if check.health is Health.FAILED)


def lines(sections: Sequence[tuple[str, Sequence[Check]]]) -> list[str]:
    """A line for each check, the fix below it, and how many of each."""
    from ci_runner.github.commands import one_line
    from ci_runner.providers.checkup import Health

    rows = [(f"{place}: {check.name}", check) for place, checks in sections for check in checks]
    width = max(len(one_line(name, 40)) for name, _ in rows)
    told = []
    for name, check in rows:
        told.append(f"{check.health:8} {one_line(name, 40):{width}}  {one_line(check.text, 400)}")
        if check.fix and check.health is not Health.OK:
            told.append(f"{'':8} {'':{width}}  fix: {one_line(check.fix, 400)}")
    counts = [(sum(check.health is health for _, check in rows), health) for health in Health]
    told.append(", ".join(f"{count} {health}" for count, health in counts if count))
    return told


def json_text(sections: Sequence[tuple[str, Sequence[Check]]]) -> str:
    """The same as one object."""
    import json

    found = [
        {
            "place": place,
            "name": check.name,
            "health": check.health.value,
            "text": check.text,
            "fix": check.fix,
        }
        for place, checks in sections
        for check in checks
    ]
    return json.dumps({"checks": found}, ensure_ascii=False, indent=2)
