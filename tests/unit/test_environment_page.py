"""Every variable of ours that the code names is on the page about the configuration, and none is taken for a setting."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ci_runner.config import environment
from ci_runner.config.environment import READ, TOLD, WITHIN
from ci_runner.config.load import load_settings
from ci_runner.config.reference import reference_text
from ci_runner.providers.aws_client import REGIONS_VARIABLE
from ci_runner.providers.aws_parts import CIDR_VARIABLE

CODE = Path(environment.__file__).parents[1]
OURS = re.compile(r"CI_RUNNER_[A-Z]+(_[A-Z]+)*")


def named_in_code() -> set[str]:
    """Variables that stand by themselves in the code, settings' own ones left out."""
    return {
        node.value
        for file in CODE.rglob("*.py")
        if file.name != "environment.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and OURS.fullmatch(node.value)
    }


def test_no_variable_of_ours_is_undocumented() -> None:
    assert named_in_code() - set(READ) - set(TOLD) - WITHIN == set()


def test_the_page_has_them_all() -> None:
    page = reference_text()
    for name, meaning in (*READ.items(), *TOLD.items()):
        assert f"| `{name}` | {meaning} |" in page
    assert {REGIONS_VARIABLE, CIDR_VARIABLE} <= set(READ)


def test_none_of_them_is_taken_for_a_setting(tmp_path: Path) -> None:
    names = {name for name in (*READ, *TOLD, *WITHIN) if name.startswith("CI_RUNNER_")}
    plain = load_settings(tmp_path, environ={})
    assert load_settings(tmp_path, environ=dict.fromkeys(names, "1")) == plain
