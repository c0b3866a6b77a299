"""GitHub's own description of its API, which every request and every response is held to."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DESCRIPTION = Path(__file__).with_name("description.json")
ROOT = "urn:github"
GREEDY = ("ref", "basehead")  # path parameters that may hold slashes
SAMPLES = {
    "uri": "https://example.invalid/",
    "date-time": "2026-11-23T00:00:00Z",
    "email": "nobody@example.invalid",
}


class Violation(ValueError):  # noqa: N818 - an answer, not a fault of the emulator
    """A request that the description does not allow, or a response of ours that it does not."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    name: str  # "GET /repos/{owner}/{repo}"
    pattern: re.Pattern[str]
    value: Mapping[str, Any]

    @property
    def method(self) -> str:
        """GET, POST, …"""
        return self.name.partition(" ")[0]


@functools.cache
def _description() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    return value


@functools.cache
def _registry() -> Registry[Any]:
    """The components, each under the address that the references give it."""
    whole: dict[str, Any] = {}
    for reference, component in _description()["components"].items():
        at = whole
        *folders, last = reference.removeprefix("#/").split("/")
        for part in folders:
            at = at.setdefault(part, {})
        at[last] = component
    resource = Resource.from_contents(whole, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource(ROOT, resource)
    return registry


@functools.cache
def operations() -> tuple[Operation, ...]:
    """Those that are emulated."""
    found = []
    for name, value in _description()["operations"].items():
        path = name.partition(" ")[2]
        parts = re.split(r"\{([a-z_]+)\}", path)
        pattern = "".join(
            re.escape(part)
            if index % 2 == 0
            else f"(?P<{part}>{'.+' if part in GREEDY and path.endswith('}') else '[^/]+'})"
            for index, part in enumerate(parts)
        )
        found.append(Operation(name, re.compile(pattern), value))
    # words before parameters: issues/comments/7 is no issue called comments
    return tuple(sorted(found, key=lambda each: (each.name.count("{"), each.name)))


def find(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """The operation of a request and its path parameters."""
    for operation in operations():
        if operation.method == method and (match := operation.pattern.fullmatch(path)) is not None:
            return operation, {key: unquote(value) for key, value in match.groupdict().items()}
    return None


def _check(value: Any, schema: Mapping[str, Any], what: str) -> None:
    schema = _absolute(schema)
    validator = jsonschema.Draft202012Validator(schema, registry=_registry())
    problems = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    if problems:
        first = problems[0]
        where = "/".join(map(str, first.absolute_path))
        raise Violation(f"{what}: {where}: {first.message[:300]}")


def _absolute(value: Any) -> Any:
    """References of the description as references into the registry."""
    if isinstance(value, Mapping):
        return {
            key: f"{ROOT}{each}"
            if key == "$ref" and isinstance(each, str) and each.startswith("#")
            else _absolute(each)
            for key, each in value.items()
        }
    return [_absolute(each) for each in value] if isinstance(value, list) else value


def resolved(schema: Any) -> Any:
    """What a reference stands for."""
    while isinstance(schema, Mapping) and "$ref" in schema:
        schema = _description()["components"][str(schema["$ref"]).removeprefix(ROOT)]
    return schema


def check_query(operation: Operation, query: Mapping[str, str]) -> None:
    """Raises Violation for a parameter that there is not, or whose value it cannot have."""
    known = {
        parameter["name"]: parameter
        for each in operation.value.get("parameters", ())
        if (parameter := resolved(each)).get("in") == "query"
    }
    for name, text in query.items():
        if name not in known:
            raise Violation(f"{operation.name}: no parameter is called {name}")
        schema = resolved(known[name]["schema"])
        value: Any = int(text) if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", text) else text
        if schema.get("type") == "boolean":
            value = {"true": True, "false": False}.get(text, text)
        _check(value, schema, f"{operation.name} ?{name}")


def check_body(operation: Operation, body: Any) -> None:
    """Raises Violation for a body that the operation does not take, or for a property that it does not know."""
    wanted = operation.value.get("requestBody")
    if wanted is None:
        if body is not None:
            raise Violation(f"{operation.name}: takes no body")
        return
    schema = resolved(wanted["content"]["application/json"]["schema"])
    if body is None:
        if wanted.get("required"):
            raise Violation(f"{operation.name}: a body is wanted")
        return
    _check(body, schema, f"{operation.name} body")
    if (
        isinstance(body, dict)
        and "oneOf" not in schema
        and "anyOf" not in schema
        and schema.get("properties")
    ):
        unknown = set(body) - set(schema["properties"])
        if unknown and schema.get("additionalProperties") is not True:
            raise Violation(f"{operation.name} body: unknown {', '.join(sorted(unknown))}")


def response_schema(operation: Operation, status: int) -> Any:
    """The schema of a response; None if it has no body. Raises Violation for a status that there is not."""
    responses = operation.value["responses"]
    if str(status) not in responses:
        raise Violation(f"{operation.name}: answers no {status}")
    content = resolved(responses[str(status)]).get("content")
    if not content:
        return None
    return content.get("application/json", next(iter(content.values())))["schema"]


def check_response(operation: Operation, status: int, body: Any) -> None:
    """Raises Violation for an answer of ours that GitHub would not give."""
    schema = response_schema(operation, status)
    if schema is None:
        if body is not None:
            raise Violation(f"{operation.name}: {status} has no body")
        return
    _check(body, schema, f"{operation.name} {status}")


def filled(operation: Operation, status: int, values: Any) -> Any:
    """The values with everything that the description requires beside them."""
    return fill(response_schema(operation, status), values)


_ABSENT = object()


def fill(schema: Any, value: Any = _ABSENT) -> Any:
    """A value of a schema: what is given, and the least that is valid where something required is not."""
    schema = _chosen(resolved(schema), value)
    kinds = schema.get("type", "object" if "properties" in schema else None)
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if value is None:
        return None
    if isinstance(value, Mapping) and (kind == "object" or "properties" in schema):
        properties = schema.get("properties", {})
        whole = {
            key: fill(properties[key], each) if key in properties else each for key, each in value.items()
        }
        for name in schema.get("required", ()):
            if name not in whole:
                whole[name] = fill(properties.get(name, {}))
        return whole
    if isinstance(value, list) and kind == "array":
        return [fill(schema["items"], each) for each in value]
    if value is not _ABSENT:
        return value
    if isinstance(kinds, list) and "null" in kinds:
        return None
    return _least(schema, kind)


def _chosen(schema: Any, value: Any) -> Any:
    """One of several schemas: the null if nothing is given, the object's for an object; all parts of a whole as one."""
    if "allOf" in schema:
        merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
        for each in schema["allOf"]:
            part = resolved(each)
            merged["properties"].update(part.get("properties", {}))
            merged["required"] += part.get("required", [])
        return merged
    for word in ("oneOf", "anyOf"):
        if word not in schema:
            continue
        choices = [resolved(each) for each in schema[word]]
        nulls = [each for each in choices if each.get("type") == "null"]
        if value is _ABSENT and nulls:
            return {"type": ["null"]} | nulls[0] | {"enum": [None]}
        wanted = {dict: "object", list: "array", str: "string", int: "integer", bool: "boolean"}.get(
            type(value)
        )
        fitting = [each for each in choices if wanted is None or wanted in _kinds(each)]
        return _chosen((fitting or choices)[0], value)
    return schema


def _kinds(schema: Any) -> list[str]:
    kinds = schema.get("type", "object" if "properties" in schema or "allOf" in schema else "")
    return kinds if isinstance(kinds, list) else [kinds]


def _least(schema: Any, kind: str | None) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: fill(properties.get(name, {})) for name in schema.get("required", ())}
    if kind == "string":
        return SAMPLES.get(schema.get("format", ""), "")
    return {"array": [], "integer": schema.get("minimum", 0), "number": 0, "boolean": False}.get(kind or "")


def moment(seconds: float) -> str:
    """A time as GitHub writes it."""
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
