"""What the page of permissions says is what the code does: every action, every request to GitHub, every channel."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from generated.permissions import action_rows, cloud_lines, text

from ci_runner.cli.action_inputs import PUBLISH
from ci_runner.cli.action_permissions import ALWAYS_THERE, AT_CLOUDS, SCOPES, scopes_of
from ci_runner.cli.action_table import ACTIONS
from ci_runner.providers import permissions
from ci_runner.providers.permissions import AWS, GCP, PERMISSIONS, PURPOSES

ROOT = Path(permissions.__file__).parents[2]
REQUESTS = {"get": 0, "pages": 0, "send": 1}  # method of the client → which argument is the path


def paths_in_code() -> set[str]:
    """The first words of all requests to GitHub's API."""
    found = set()
    for file in (ROOT / "ci_runner").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            place = REQUESTS.get(node.func.attr)
            if place is None or not owner.endswith("client") or len(node.args) <= place:
                continue
            path = node.args[place]
            parts = path.values if isinstance(path, ast.JoinedStr) else [path]
            if isinstance(parts[0], ast.Constant):
                found.add(str(parts[0].value).partition("/")[0])
    return found


def test_every_request_to_github_has_its_scope_and_no_scope_is_idle() -> None:
    declared = {path for each in SCOPES for path in each.paths} | set(ALWAYS_THERE)
    assert paths_in_code() == declared


def test_every_action_that_there_is_has_its_row() -> None:
    there = {file.parent.name for file in ROOT.glob("actions/*/action.yml")}
    assert set(AT_CLOUDS) >= there | set(ACTIONS)
    assert len(list(action_rows())) == len(AT_CLOUDS)
    for each in SCOPES:
        assert set(each.actions) <= set(AT_CLOUDS)


@pytest.mark.parametrize("channel", ["comment", "check", "issue"])
def test_what_is_published_at_github_has_a_scope_that_writes(channel: str) -> None:
    assert channel in PUBLISH.text
    (scope,) = [each for each in SCOPES if each.when == f"`publish` has {channel}"]
    assert scope.name.endswith(": write")


def test_actions_that_lease_prove_who_they_are_and_the_others_need_not() -> None:
    always = {
        name
        for name in AT_CLOUDS
        for each in scopes_of(name)
        if each.name == "id-token: write" and not each.when
    }
    assert always == {"tpu-test", "gpu-test", "benchmark", "guard", "reap"}
    assert scopes_of("setup") == []


def test_the_page_has_every_permission_and_every_purpose() -> None:
    page = text()
    for each in PERMISSIONS:
        assert f"`{each.grants or each.call}`" in page
        assert each.why in page
    for purpose in PURPOSES:
        assert f"| {purpose} |" in page


@pytest.mark.parametrize("cloud", [AWS, GCP])
def test_rows_of_the_page_have_four_cells(cloud: str) -> None:
    rows = [line for line in cloud_lines(cloud, "x") if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
