"""`ci-runner config`: what the configuration comes to and where each value is from; the schema of the file."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
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
    if arguments.keys and not shown:
        from ci_runner.config.suites import near
        from ci_runner.errors import UsageError

        raise UsageError(
            f'nothing is configured under "{arguments.keys[0]}"{near(arguments.keys[0], list(settings.values))}',
            fix="ci-runner config show prints everything",
        )
    if arguments.format == "json":
        print(json.dumps(_object(settings, shown), indent=2, default=str))
    else:
        print("\n".join(_lines(settings, shown)))
    return 0


def _wanted(key: str, prefixes: list[str]) -> bool:
    return not prefixes or any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _object(settings: Settings, keys: list[str]) -> dict[str, Any]:
    return {
        "root": str(settings.root),
        "files": list(settings.fetched_from),
        "values": {
            key: {
                "value": settings.values[key],
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
        key: f"{key} = {one_line(json.dumps(settings.values[key], ensure_ascii=False, default=str), 160)}"
        for key in keys
    }
    width = min(60, max((len(text) for text in texts.values()), default=0))
    for key, text in texts.items():
        origin = settings.origins[key]
        place = origin.kind if origin.kind == "default" else origin.name
        lines.append(f"{text:<{width}}  # {place}{f':{origin.line}' if origin.line else ''}")
    return lines
