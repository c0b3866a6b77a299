"""The page about permissions: what each action needs at GitHub and at the clouds, from the lists in the code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ci_runner.cli.action_permissions import AT_CLOUDS, SCOPES, scopes_of
from ci_runner.providers.permissions import AWS, GCP, PERMISSIONS, PURPOSES, Permission, Purpose, Reach

TITLES = {GCP: "Google Cloud", AWS: "AWS"}
HEAD = """<!-- written by scripts/generate; change the code, not this file -->
# Permissions

What ci-runner asks of GitHub and of the clouds, and why. The tables come from the list that the printed set-ups are made of
(`ci-runner doctor --print-setup gcp|aws --repository OWNER/REPO`), and tests hold that list to the calls in the code:
nothing is missing from it, and nothing is in it that no command uses. [Credentials](../how-to/credentials.md) says how to
set them up.

Prices come from a table that is part of ci-runner, so that no permission is needed to know them.

## What each action needs

The scopes are lines under `permissions:` of the job that uses the action. What is done at a cloud is explained below; a
history in a folder needs nothing there.

| action | scopes, always | scopes, for some uses | at a cloud |
|---|---|---|---|
"""
SCOPES_HEAD = """
| scope | needed if | what for |
|---|---|---|
"""
REACHES = {
    Reach.NOTHING: "",
    Reach.ALL: "everything; the cloud knows no narrower reach",
    Reach.IMAGES: "parameters that AWS publishes (`/aws/service/…`)",
    Reach.PARTS: "{kinds}, in the regions of the set-up",
    Reach.NEW: "{kinds}, if created with a lease's tag, in the regions of the set-up",
    Reach.BIRTH: "{kinds}, in the call that creates them, with a lease's tag",
    Reach.OURS: "{kinds} with a lease's tag",
    Reach.MARK: "{kinds} with a lease's tag; only the tag `ci-runner-reap`",
    Reach.SPOT_ROLE: "the service-linked role of spot machines",
    Reach.MACHINE_ACCOUNT: "the service account of the machines, which has no role",
    Reach.BUCKET: "the bucket of the history",
    Reach.OBJECTS: "objects in the bucket of the history",
}
NOT_REACHED = """
## What no set-up grants

- At AWS no `iam:PassRole`: a machine that a suite runs on never has an identity there.
- At Google Cloud nothing on other service accounts: machines get one that has no role.
- No right to change or delete what a history holds; objects in a bucket grow old by a rule of the bucket.
- No right to change policies, roles, keys or the bounds of the set-up itself.
"""


def text() -> str:
    """The whole page."""
    parts = [HEAD, *(f"{row}\n" for row in action_rows()), SCOPES_HEAD, *(f"{row}\n" for row in scope_rows())]
    parts.append("\n## What is done at a cloud\n\n| purpose | what it is |\n|---|---|\n")
    parts += [f"| {purpose} | {words} |\n" for purpose, words in PURPOSES.items()]
    for cloud, title in TITLES.items():
        parts += [f"{line}\n" for line in cloud_lines(cloud, title)]
    return "".join(parts) + NOT_REACHED


def action_rows() -> Iterator[str]:
    """One action a row."""
    for action, needs in AT_CLOUDS.items():
        scopes = scopes_of(action)
        always = ", ".join(f"`{each.name}`" for each in scopes if not each.when)
        some = ", ".join(f"`{each.name}`" for each in scopes if each.when)
        clouds = " or ".join(TITLES[each] for each in needs.clouds)
        done = f"{', '.join(needs.purposes)} at {clouds}" if needs.purposes else "nothing"
        yield f"| {action} | {always or 'none'} | {some or 'none'} | {done} |"


def scope_rows() -> Iterator[str]:
    """One scope a row."""
    for each in SCOPES:
        yield f"| `{each.name}` | {each.when or 'always'} | {each.why} |"


def cloud_lines(cloud: str, title: str) -> Iterator[str]:
    """The table of a cloud, a permission a row."""
    yield ""
    yield f"## {title}"
    yield ""
    yield "| permission | reaches | why | needed by |"
    yield "|---|---|---|---|"
    for rows in grouped(each for each in PERMISSIONS if each.cloud == cloud):
        first = rows[0]
        permission = f"`{first.grants}`" if first.grants else f"none, for `{first.call}`"
        kinds = ", ".join(dict.fromkeys(kind for each in rows for kind in each.kinds))
        why = "; ".join(dict.fromkeys(each.why for each in rows))
        purposes = ", ".join(each for each in Purpose if any(each in row.purposes for row in rows))
        yield f"| {permission} | {REACHES[first.reach].format(kinds=kinds)} | {why} | {purposes} |"


def grouped(rows: Iterable[Permission]) -> list[list[Permission]]:
    """Rows that grant the same with the same reach, together."""
    found: dict[tuple[str, Reach], list[Permission]] = {}
    for each in rows:
        found.setdefault((each.grants or each.call, each.reach), []).append(each)
    return list(found.values())
