"""What is copied to machines runs there: old syntax, and nothing that has to be installed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import ci_runner.execution.onboard

FOLDER = Path(next(iter(ci_runner.execution.onboard.__path__)))
FILES = sorted(FOLDER.rglob("*.py"))
# what each plugin runs inside of, and has beside the standard library; coverage.py's absence is told and no error
THERE = {"ci_runner_sidecar.py": {"pytest"}, "ci_runner_coverage.py": {"coverage", "pytest"}}
IDS = [str(path.relative_to(FOLDER)) for path in FILES]


def imported(tree: ast.AST) -> set[str]:
    """The top-level names of all modules that a file imports, wherever it does."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import needs a package"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_syntax_is_that_of_python_3_9(path: Path) -> None:
    """Parses as Python 3.9, and unions in annotations are never evaluated."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))
    futures = {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }
    unions = [
        node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)
    ]
    assert "annotations" in futures or not any(
        isinstance(side, ast.Constant) and side.value is None
        for node in unions
        for side in (node.left, node.right)
    )
    assert not [node for node in ast.walk(tree) if type(node).__name__ in ("Match", "TryStar")]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_nothing_has_to_be_installed(path: Path) -> None:
    """Only the standard library, and for plugins what they run inside of."""
    allowed = sys.stdlib_module_names | THERE.get(path.name, set())
    assert imported(ast.parse(path.read_text(encoding="utf-8"))) <= allowed


def test_the_folder_holds_what_is_known() -> None:
    """The checks above see the plugin, the probe and the supervisor."""
    assert {"plugin/ci_runner_sidecar.py", "probe.py", "supervise.py"} <= set(IDS)
