"""Unit tests are pure: no network, no subprocess; a test that tries is stopped with a reason."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make network and processes impossible; take the caller's CI out of the environment."""

    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise AssertionError(
            "a unit test must not use the network or start a process: move it to tests/integration"
        )

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "system", refuse)
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "CI_RUNNER_", "RUNNER_")) or name in {"CI", "NO_COLOR", "FORCE_COLOR"}:
            monkeypatch.delenv(name)
