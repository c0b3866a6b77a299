"""The JSON schema of ci-runner.toml, with which editors complete and check the file."""

from __future__ import annotations

import json
from typing import Any

from ci_runner.config.checks import NAMED
from ci_runner.config.tables import NAME, RootTable

URL = "https://raw.githubusercontent.com/org/kpt/main/docs/reference/ci-runner.schema.json"


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    schema = RootTable.model_json_schema(by_alias=True, mode="validation")
    _tidy(schema)
    for item in schema[
        "properties"
    ].values():  # pydantic leaves a description out where the table has the same
        if "description" not in item and "$ref" in item:
            item["description"] = schema["$defs"][item["$ref"].rpartition("/")[2]]["description"]
    for kind in NAMED:
        schema["properties"][kind]["propertyNames"] = {"pattern": f"^{NAME}$"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": URL,
        **schema,
        "title": "ci-runner.toml",
    }


def _tidy(node: Any) -> None:
    """Drop the titles that pydantic makes of names: editors show them instead of the description."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        for value in node.values():
            _tidy(value)
    elif isinstance(node, list):
        for value in node:
            _tidy(value)


def json_schema_text() -> str:
    """The schema as it is checked in."""
    return json.dumps(json_schema(), indent=2) + "\n"
