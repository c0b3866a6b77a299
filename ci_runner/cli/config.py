"""`ci-runner config`: what the configuration comes to and where each value is from; the schema of the file."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ci_runner.config.settings import Settings

EXAMPLE = "ci-runner config show suites.unit"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of `config`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show",
        help="print every value and where it comes from",
        description="Print every value and where it comes from.",
    )
    show.add_argument(
        "keys", nargs="*", metavar="KEY", help="only what begins with this, such as suites.unit"
    )
    show.add_argument(
        "--config", metavar="FILE", help="the configuration to read (default: ci-runner.toml, found upwards)"
    )
    show.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: nothing but one object on stdout"
    )
    schema = actions.add_parser(
        "schema",
        help="print the JSON schema of ci-runner.toml",
        description="Print the JSON schema of ci-runner.toml.",
    )
    schema.add_argument("--keys", action="store_true", help="print one line for each key instead, for people")


def run(arguments: Namespace) -> int:
    """Print what was asked for."""
    return _show(arguments) if arguments.action == "show" else _schema(arguments)


def _schema(arguments: Namespace) -> int:
    if arguments.keys:
        from ci_runner.config.reference import key_lines

        print("\n".join(key_lines()))
    else:
        from ci_runner.config.schema import json_schema_text

        print(json_schema_text(), end="")
    return 0


def _show(arguments: Namespace) -> int:
    import os
    from pathlib import Path

    from ci_runner.config.load import load_settings

    file = Path(arguments.config) if arguments.config else None
    settings = load_settings(Path.cwd(), environ=os.environ, config_file=file)
    shown = [key for key in sorted(settings.values) if _wanted(key, arguments.keys)]
    for key in arguments.keys:
        if any(_wanted(name, [key]) for name in shown):
            continue
        from ci_runner.config.words import near
        from ci_runner.errors import UsageError

        raise UsageError(
            f'nothing is configured under "{key}"{near(key, _prefixes(settings.values))}',
            fix="ci-runner config show prints everything",
        )
    if arguments.format == "json":
        print(json.dumps(_object(settings, shown), indent=2, default=str))
    else:
        print("\n".join(_lines(settings, shown)))
    return 0


def _wanted(key: str, prefixes: list[str]) -> bool:
    return not prefixes or any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _prefixes(keys: Iterable[str]) -> list[str]:
    """Every key and every table around one."""
    found = {}
    for key in keys:
        parts = key.split(".")
        found.update(dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1)))
    return list(found)


def _value(value: object) -> object:
    """A value that JSON has; not-a-number and days are text there."""
    plain = isinstance(value, (str, int, list, dict)) or value is None
    return value if plain or (isinstance(value, float) and math.isfinite(value)) else str(value)


def _object(settings: Settings, keys: list[str]) -> dict[str, Any]:
    return {
        "root": str(settings.root),
        "files": list(settings.fetched_from),
        "values": {
            key: {
                "value": _value(settings.values[key]),
                "origin": settings.origins[key].kind,
                "name": settings.origins[key].name or None,
                "line": settings.origins[key].line,
            }
            for key in keys
        },
    }


def _lines(settings: Settings, keys: list[str]) -> list[str]:
    from ci_runner.github.commands import one_line

    lines = [f"# root {settings.root}", f"# read {', '.join(settings.fetched_from) or 'no file'}"]
    texts = {
        key: f"{key} = {one_line(json.dumps(_value(settings.values[key]), ensure_ascii=False, default=str), 160)}"
        for key in keys
    }
    width = min(60, max((len(text) for text in texts.values()), default=0))
    for key, text in texts.items():
        origin = settings.origins[key]
        place = origin.kind if origin.kind == "default" else one_line(origin.name)
        lines.append(f"{text:<{width}}  # {place}{f':{origin.line}' if origin.line else ''}")
    return lines
