"""Google's own description of the TPU API, which every request and every response is held to."""

from __future__ import annotations

import enum
import functools
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = "discovery_cache/documents/tpu.v2.json"
COMMON = ("$alt", "alt", "prettyPrint", "$.xgafv", "fields", "key", "access_token", "quotaUser", "uploadType")
FORMATS = {
    "google-duration": re.compile(r"-?[0-9]+(\.[0-9]{1,9})?s"),
    "google-datetime": re.compile(
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
    ),
    "int64": re.compile(r"-?[0-9]+"),
}


class Violation(ValueError):  # noqa: N818 - an answer, not a fault of the emulator
    """A value that Google's description does not allow."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the API."""

    id: str  # nodes.create
    verb: str
    pattern: re.Pattern[str]
    query: Mapping[str, Mapping[str, Any]]
    request: str | None
    response: str


@functools.cache
def document() -> dict[str, Any]:
    """The description, as google-api-python-client brings it."""
    spec = importlib.util.find_spec("googleapiclient")
    assert spec is not None
    assert spec.origin is not None
    found: dict[str, Any] = json.loads((Path(spec.origin).parent / DOCUMENT).read_text())
    return found


@functools.cache
def methods() -> tuple[Method, ...]:
    """Every method, the most specific path first."""
    return tuple(sorted(_walk(document()["resources"], ""), key=lambda method: -len(method.pattern.pattern)))


def _walk(resources: Mapping[str, Any], prefix: str) -> Iterator[Method]:
    for name, resource in resources.items():
        for verb, method in resource.get("methods", {}).items():
            path = "".join(
                "([^/:]+)" if part.startswith("{") else re.escape(part)
                for part in re.split(r"(\{[^}]+\})", method["flatPath"])
            )
            yield Method(
                id=".".join([*f"{prefix}{name}".split("."), verb][-2:]),
                verb=method["httpMethod"],
                pattern=re.compile(f"/{path}"),
                query={
                    key: value for key, value in method["parameters"].items() if value["location"] == "query"
                },
                request=method.get("request", {}).get("$ref"),
                response=method["response"]["$ref"],
            )
        yield from _walk(resource.get("resources", {}), f"{prefix}{name}.")


def find(verb: str, path: str) -> tuple[Method, tuple[str, ...]] | None:
    """The method that a request means, and what stands in its path; None if there is none."""
    for method in methods():
        match = method.pattern.fullmatch(path)
        if match is not None and method.verb == verb:
            return method, match.groups()
    return None


def check_query(method: Method, query: Mapping[str, str]) -> None:
    """Raise Violation for a parameter that the method does not have, or of the wrong type."""
    for name, value in query.items():
        if name in COMMON:
            continue
        if name not in method.query:
            raise Violation(
                f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            )
        kind = method.query[name]["type"]
        if kind == "boolean" and value.lower() not in ("true", "false"):
            raise Violation(f"Invalid value at '{name}' (TYPE_BOOL), {value!r}")
        if kind == "integer" and not value.isdecimal():
            raise Violation(f"Invalid value at '{name}' (TYPE_INT32), {value!r}")


def check(name: str, value: Any, *, request: bool = False, place: str = "") -> None:
    """Raise Violation for a value that is not of the schema."""
    if not isinstance(value, Mapping):
        raise Violation(f"Invalid value at '{place or name}': expected an object")
    known = document()["schemas"][name].get("properties", {})
    for key, item in value.items():
        here = f"{place}.{key}".lstrip(".")
        if key not in known:
            raise Violation(
                f"Invalid JSON payload received. Unknown name \"{key}\" at '{place or name}': Cannot find field."
            )
        if request and known[key].get("readOnly") and item not in (None, "", 0, False, [], {}):
            raise Violation(f"Invalid value at '{here}': it is output only")
        _check_value(known[key], item, request, here)


def _check_value(schema: Mapping[str, Any], value: Any, request: bool, place: str) -> None:
    if "$ref" in schema:
        check(schema["$ref"], value, request=request, place=place)
        return
    kind = schema["type"]
    if kind == "array":
        if not isinstance(value, list):
            raise Violation(f"Invalid value at '{place}': expected a list")
        for number, item in enumerate(value):
            _check_value(schema["items"], item, request, f"{place}[{number}]")
    elif kind == "object":
        if not isinstance(value, Mapping):
            raise Violation(f"Invalid value at '{place}': expected an object")
        extra = schema.get("additionalProperties", {})
        if extra.get("type") == "string" and not all(isinstance(item, str) for item in value.values()):
            raise Violation(f"Invalid value at '{place}': expected strings")
    else:
        _check_plain(schema, kind, value, request, place)


def _check_plain(schema: Mapping[str, Any], kind: str, value: Any, request: bool, place: str) -> None:
    if kind == "string":
        if "enum" in schema and request and isinstance(value, int):
            return  # clients may send the number of a name
        if not isinstance(value, str) or ("enum" in schema and value not in schema["enum"]):
            raise Violation(f"Invalid value at '{place}' (TYPE_STRING), {value!r}")
        form = FORMATS.get(schema.get("format", ""))
        if form is not None and not form.fullmatch(value):
            raise Violation(f"Invalid value at '{place}' ({schema['format']}), {value!r}")
    elif kind == "boolean" and not isinstance(value, bool):
        raise Violation(f"Invalid value at '{place}' (TYPE_BOOL), {value!r}")
    elif kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise Violation(f"Invalid value at '{place}' (TYPE_INT32), {value!r}")


def numbered(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """The answer with numbers instead of the names of states, as clients that ask for `enum-encoding=int` get it."""
    known = document()["schemas"][name].get("properties", {})
    return {key: _numbered(name, key, known[key], item) for key, item in value.items()}


def _numbered(owner: str, key: str, schema: Mapping[str, Any], value: Any) -> Any:
    if "$ref" in schema:
        return numbered(schema["$ref"], value)
    if schema.get("type") == "array":
        return [_numbered(owner, key, schema["items"], item) for item in value]
    if "enum" in schema:
        return numbers().get((owner, key), {}).get(value, value)
    return value


@functools.cache
def numbers() -> Mapping[tuple[str, str], Mapping[str, int]]:
    """The numbers of names, which the description does not tell: they are those of Google's own client."""
    from google.cloud import tpu_v2

    kinds: Mapping[tuple[str, str], type[enum.IntEnum]] = {
        ("Node", "state"): tpu_v2.Node.State,
        ("Node", "health"): tpu_v2.Node.Health,
        ("Node", "apiVersion"): tpu_v2.Node.ApiVersion,
        ("QueuedResourceState", "state"): tpu_v2.QueuedResourceState.State,
        ("QueuedResourceState", "stateInitiator"): tpu_v2.QueuedResourceState.StateInitiator,
        ("AcceleratorConfig", "type"): tpu_v2.AcceleratorConfig.Type,
    }
    return {
        where: {str(name): int(each) for name, each in kind.__members__.items()}
        for where, kind in kinds.items()
    }
