"""Takes what the emulated GitHub is held to out of GitHub's own description of its API, as npm ships it.

`python -m tests.emulators.github.extract` fetches the package that is pinned here, checks its hash and writes
description.json; examples and prose are left out. Run it again after a new VERSION and look at the difference.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = "@octokit/openapi"
VERSION = "23.0.2"
SHA512 = "pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
INSIDE = "package/generated/api.github.com.json"
TARGET = Path(__file__).with_name("description.json")
REPOSITORY = "/repos/{owner}/{repo}"
OPERATIONS = (
    "GET /user",
    f"GET {REPOSITORY}",
    f"POST {REPOSITORY}/check-runs",
    f"GET {REPOSITORY}/check-runs/{{check_run_id}}",
    f"GET {REPOSITORY}/check-runs/{{check_run_id}}/annotations",
    f"PATCH {REPOSITORY}/check-runs/{{check_run_id}}",
    f"GET {REPOSITORY}/collaborators/{{username}}/permission",
    f"GET {REPOSITORY}/commits",
    f"GET {REPOSITORY}/commits/{{ref}}/check-runs",
    f"GET {REPOSITORY}/compare/{{basehead}}",
    f"POST {REPOSITORY}/git/blobs",
    f"GET {REPOSITORY}/git/blobs/{{file_sha}}",
    f"POST {REPOSITORY}/git/commits",
    f"GET {REPOSITORY}/git/commits/{{commit_sha}}",
    f"GET {REPOSITORY}/git/ref/{{ref}}",
    f"POST {REPOSITORY}/git/refs",
    f"PATCH {REPOSITORY}/git/refs/{{ref}}",
    f"POST {REPOSITORY}/git/trees",
    f"GET {REPOSITORY}/git/trees/{{tree_sha}}",
    f"GET {REPOSITORY}/issues",
    f"POST {REPOSITORY}/issues",
    f"GET {REPOSITORY}/issues/comments",
    f"GET {REPOSITORY}/issues/comments/{{comment_id}}",
    f"PATCH {REPOSITORY}/issues/comments/{{comment_id}}",
    f"DELETE {REPOSITORY}/issues/comments/{{comment_id}}",
    f"GET {REPOSITORY}/issues/{{issue_number}}",
    f"PATCH {REPOSITORY}/issues/{{issue_number}}",
    f"GET {REPOSITORY}/issues/{{issue_number}}/comments",
    f"POST {REPOSITORY}/issues/{{issue_number}}/comments",
    f"GET {REPOSITORY}/issues/{{issue_number}}/events",
    f"POST {REPOSITORY}/issues/{{issue_number}}/labels",
    f"POST {REPOSITORY}/labels",
    f"GET {REPOSITORY}/labels/{{name}}",
    f"GET {REPOSITORY}/pulls",
    f"GET {REPOSITORY}/pulls/{{pull_number}}",
    f"GET {REPOSITORY}/pulls/{{pull_number}}/reviews",
)
PROSE = (
    "description",
    "summary",
    "example",
    "examples",
    "externalDocs",
    "tags",
    "operationId",
    "deprecated",
    "title",
)


def main() -> int:
    """Fetch, check, extract, write."""
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or "https://registry.npmjs.org"
    url = f"{registry.rstrip('/')}/{PACKAGE}/-/{PACKAGE.rpartition('/')[2]}-{VERSION}.tgz"
    if not url.startswith(("https://", "http://")):
        print(f"extract: error: not an address: {url}", file=sys.stderr)
        return 2
    with urllib.request.urlopen(url, timeout=300) as answer:
        data = answer.read()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != SHA512:
        print(f"extract: error: {url} is not the package that was looked at", file=sys.stderr)
        return 1
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile(INSIDE)
        if member is None:
            print(f"extract: error: no {INSIDE} in the package", file=sys.stderr)
            return 1
        description = json.load(member)
    TARGET.write_text(as_text(extracted(description)), encoding="utf-8")
    print(f"wrote {TARGET}")
    return 0


def extracted(description: dict[str, Any]) -> dict[str, Any]:
    """The operations and everything that they refer to."""
    operations = {}
    for name in OPERATIONS:
        method, _, path = name.partition(" ")
        entry = description["paths"][path]
        operations[name] = plain(entry[method.lower()])
    components: dict[str, Any] = {}
    wanted = set(references(operations))
    while wanted:
        reference = wanted.pop()
        if reference in components:
            continue
        value: Any = description
        for part in reference.removeprefix("#/").split("/"):
            value = value[part]
        components[reference] = plain(value)
        wanted |= set(references(components[reference])) - set(components)
    return {
        "package": f"{PACKAGE}@{VERSION}",
        "operations": operations,
        "components": dict(sorted(components.items())),
    }


def references(value: Any) -> Iterator[str]:
    """Every $ref in a value."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def plain(value: Any, *, names: bool = False) -> Any:
    """OpenAPI 3.0 as JSON Schema: without prose, and with `null` among the types where it says nullable.

    `names`: the keys of this object are names of properties, not words of the schema.
    """
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    if names:
        return {key: plain(each) for key, each in value.items()}
    kept = {
        key: plain(each, names=key in ("properties", "headers", "content", "responses"))
        for key, each in value.items()
        if key not in PROSE and not key.startswith("x-")
    }
    if kept.pop("nullable", False):
        if isinstance(kept.get("type"), str):
            kept["type"] = [kept["type"], "null"]
            if "enum" in kept and None not in kept["enum"]:
                kept["enum"] = [*kept["enum"], None]
        else:
            kept = {"anyOf": [kept, {"type": "null"}]}
    return kept


def as_text(value: dict[str, Any]) -> str:
    """JSON with one operation or component a line, so that a difference can be read."""

    def lines(entries: dict[str, Any]) -> str:
        return ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(each, separators=(',', ':'))}" for key, each in entries.items()
        )

    return (
        f'{{\n "package": {json.dumps(value["package"])},\n'
        f' "operations": {{\n{lines(value["operations"])}\n }},\n'
        f' "components": {{\n{lines(value["components"])}\n }}\n}}\n'
    )


if __name__ == "__main__":
    sys.exit(main())
