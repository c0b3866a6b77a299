"""A machine described on the command line: `--platform aws --instance-type p4d.24xlarge --spot`, without configuration."""

from __future__ import annotations

import dataclasses
import math
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings

NAME = "command-line"  # the machine's name in plan and report
PROVIDERS = {"local": "local", "ssh": "ssh", "gcp": "gcp-tpu", "aws": "aws-ec2"}
LONGEST_MINUTES = 120.0  # of a lease that nobody limited


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments that describe a machine."""
    group = parser.add_argument_group("a machine without configuration")
    group.add_argument("--platform", choices=sorted(PROVIDERS), help="who lends it")
    group.add_argument(
        "--instance-type", metavar="TYPE", help="the type on AWS, such as g5.xlarge or p4d.24xlarge"
    )
    group.add_argument("--tpu-type", metavar="TYPE", help="the type on GCP, such as v5litepod-8 or v6e-1")
    group.add_argument(
        "--zone",
        action="append",
        default=[],
        metavar="ZONE",
        help="a zone to try (repeatable, in this order)",
    )
    group.add_argument(
        "--host", action="append", default=[], metavar="USER@HOST", help="a host over ssh (repeatable)"
    )
    spot = group.add_mutually_exclusive_group()
    spot.add_argument(
        "--spot", action="store_true", help="only a machine that can be taken away, and costs less"
    )
    spot.add_argument("--preemptible", action="store_true", dest="spot", help="the same")
    group.add_argument(
        "--max-minutes", type=minutes, metavar="N", help=f"the longest lease (default: {LONGEST_MINUTES:g})"
    )
    group.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what else the provider wants to know",
    )


def minutes(text: str) -> float:
    """A number of minutes that a lease can last."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise ArgumentTypeError(f"{text!r} is no number of minutes above 0")
    return found


def with_machine(settings: Settings, arguments: Namespace) -> tuple[Settings, str | None]:
    """The settings with the machine that was described, and its name; the machine that was named otherwise.

    Raises UsageError for descriptions that contradict themselves.
    """
    from ci_runner.errors import UsageError
    from ci_runner.model import MachineSpec

    given = [
        f"--{name.replace('_', '-')}"
        for name in ("platform", "instance_type", "tpu_type", "zone", "host", "spot", "max_minutes", "option")
        if getattr(arguments, name)
    ]
    if not given:
        return settings, arguments.machine
    if arguments.machine:
        raise UsageError(
            f"--machine names a machine of the configuration, and {given[0]} describes another one",
            fix="leave one of them away",
        )
    platform = _platform(arguments)
    kind = _type(arguments, platform)
    spec = MachineSpec(
        name=NAME,
        provider=PROVIDERS[platform],
        type=kind,
        zones=tuple(arguments.zone),
        spot="only" if arguments.spot else "never",
        max_minutes=arguments.max_minutes or LONGEST_MINUTES,
        options=_options(arguments, settings),
    )
    return dataclasses.replace(settings, machines={**settings.machines, NAME: spec}), NAME


def _platform(arguments: Namespace) -> str:
    """The platform that was named, or that the type belongs to."""
    from ci_runner.errors import UsageError

    meant = {
        name
        for name, given in (
            ("aws", arguments.instance_type),
            ("gcp", arguments.tpu_type),
            ("ssh", arguments.host),
        )
        if given
    }
    if arguments.platform:
        meant.add(str(arguments.platform))
    if len(meant) == 1:
        return meant.pop()
    if not meant:
        raise UsageError("nobody says who lends the machine", fix="add --platform aws, gcp, ssh or local")
    raise UsageError(
        f"the machine cannot be from {' and '.join(sorted(meant))} at once",
        fix="--instance-type goes with --platform aws, --tpu-type with gcp, --host with ssh",
    )


def _type(arguments: Namespace, platform: str) -> str | None:
    from ci_runner.errors import UsageError

    kind: str | None = arguments.instance_type or arguments.tpu_type
    if kind is None and platform in ("aws", "gcp"):
        flag, example = {"aws": ("--instance-type", "g5.xlarge"), "gcp": ("--tpu-type", "v6e-1")}[platform]
        raise UsageError(f"--platform {platform} needs a type", fix=f"add {flag}, such as {flag} {example}")
    if platform == "ssh" and not arguments.host:
        raise UsageError("--platform ssh needs a host", fix="add --host USER@HOST")
    return kind


def _options(arguments: Namespace, settings: Settings) -> Mapping[str, str]:
    """The options; those of a configured machine of the same provider count where nothing else is said."""
    from ci_runner.config.options import unread_options
    from ci_runner.errors import UsageError
    from ci_runner.github.commands import one_line

    provider = PROVIDERS[_platform(arguments)]
    found: dict[str, str] = {}
    for machine in settings.machines.values():
        if machine.provider == provider:
            found.update(machine.options)
    for text in arguments.option:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--option {text!r} has no name or no value", fix="write it as NAME=VALUE")
        found[name] = value
    for name, why in unread_options({"provider": provider, "options": found}):
        raise UsageError(
            f'there is no option "{one_line(name, 80)}": {why}',
            where="--option",
            fix="docs/reference/configuration.md lists the options of each provider",
        )
    if arguments.host:
        found["hosts"] = ",".join(arguments.host)
    return found
