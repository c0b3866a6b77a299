"""The commits that a change is compared with, asked of GitHub where the checkout is too shallow to tell."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote

from ci_runner.github.client import Absent
from ci_runner.history.base import ANCESTORS

if TYPE_CHECKING:
    from ci_runner.github.client import Client
    from ci_runner.model import Event


def ancestors_on_github(client: Client, event: Event, base_branch: str) -> list[str]:
    """The merge base and the commits before it; of a push, those before the pushed one. Empty if GitHub cannot tell."""
    if not event.commit:
        return []
    try:
        if event.pull_request is None and event.kind != "merge_group":
            return [sha for sha in _listed(client, event.commit, ANCESTORS + 1) if sha != event.commit]
        compared = client.get(f"compare/{quote(base_branch, safe='')}...{event.commit}")
        return _listed(client, str(compared["merge_base_commit"]["sha"]), ANCESTORS)
    except Absent:
        return [event.base_commit] if event.base_commit else []


def _listed(client: Client, start: str, most: int) -> list[str]:
    return [str(each["sha"]) for each in islice(client.pages("commits", sha=start), most)]
