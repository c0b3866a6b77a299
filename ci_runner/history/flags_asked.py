"""What the history on a branch says of flags, in one request; the rest of the branch is not looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ci_runner.errors import CiRunnerError, GitHubError
from ci_runner.github.address import repository_of
from ci_runner.github.query import ask_once
from ci_runner.history.overrides import FOLDER, FlagHistory, load_flags
from ci_runner.history.store import MemoryStore, Store
from ci_runner.plan.flags import Overrides

_ENTRIES = "... on Tree { entries { name object { %s } } }"
QUERY = (
    "query($owner: String!, $name: String!, $folder: String!) { repository(owner: $owner, name: $name) "
    "{ object(expression: $folder) { " + _ENTRIES % (_ENTRIES % "... on Blob { text }") + " } } }"
)


def ask_flags(environ: Mapping[str, str], branch: str) -> FlagHistory:
    """The overrides on the branch; no such branch or folder has none. Where GitHub does not say it, that is a value."""
    try:
        return load_flags(_objects(environ, branch))
    except CiRunnerError as error:
        return FlagHistory(overrides=Overrides(unreachable=error.what))


def _objects(environ: Mapping[str, str], branch: str) -> Store:
    """What is in the folder of the flags, as a store; a file that is no text is there all the same, without content."""
    owner, _, name = repository_of(environ).partition("/")
    folder = f"refs/heads/{branch}:{FOLDER.rstrip('/')}"
    data = ask_once(environ, QUERY, {"owner": owner, "name": name, "folder": folder})
    if not isinstance(data.get("repository"), dict):
        raise GitHubError("GitHub does not show this repository to the token")
    store = MemoryStore()
    for flag, inside in _entries(data["repository"].get("object")):
        for file, content in _entries(inside):
            text = content.get("text") if isinstance(content, dict) else None
            try:
                store.put_new(f"{FOLDER}{flag}/{file}", (text or "").encode("utf-8", "replace"))
            except ValueError:
                continue  # a file that the store could not have written
    return store


def _entries(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and isinstance(tree.get("entries"), list):
        for entry in tree["entries"]:
            if not isinstance(entry, dict):
                raise GitHubError("GitHub's answer cannot be read")
            yield str(entry.get("name")), entry.get("object")
