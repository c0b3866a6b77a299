"""Outputs of a step: values that no text inside of them can break out of."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from ci_runner.errors import UsageError


def write_outputs(path: Path, values: Mapping[str, str]) -> None:
    """Append values to the file that GITHUB_OUTPUT names, each between lines of a word that nobody can guess."""
    text = ""
    for name, value in values.items():
        word = f"ci_runner_{secrets.token_hex(16)}"
        text += f"{name}<<{word}\n{value}\n{word}\n"
    try:
        with path.open("a", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"cannot write the outputs of this step: {error.strerror or error}",
            where=str(path),
            fix="unset GITHUB_OUTPUT, or let it name a file that can be written",
        ) from error
