"""Packages too heavy for the first start of scripts/ci-runner: their tests are skipped there, and never in the gate."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def needed(name: str) -> Any:
    """The module, else a skip that says who has it. scripts/test installs everything: there a gap is an error."""
    if os.environ.get("CI_RUNNER_GROUPS") == "all":
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed here; scripts/test has it")
