"""Writes every generated file whose text has changed, or with --check only says which ones those are."""

from __future__ import annotations

import importlib
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from pathlib import Path

from generated.registry import GENERATED

ROOT = Path(__file__).resolve().parents[2]
SHOWN = 20  # lines of a difference; enough to see what it is about


def main(words: Sequence[str]) -> int:
    """Write or check; 1 when a file was found stale by --check."""
    parser = ArgumentParser(
        prog="scripts/generate", description="Write the files that are made from the code."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; say what is stale and exit 1")
    arguments = parser.parse_args(words)
    changed = stale(ROOT, GENERATED)
    for path, text in changed.items():
        if arguments.check:
            print("\n".join(difference(ROOT / path, path, text)))
        else:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_bytes(text.encode())
            print(f"wrote {path}")
    if arguments.check and changed:
        print(f"stale: {', '.join(changed)}", file=sys.stderr)
        print("fix: scripts/generate, and commit what it writes", file=sys.stderr)
        return 1
    return 0


def stale(root: Path, generated: Mapping[str, str]) -> dict[str, str]:
    """The files whose content is not what their function gives, with the text that they should hold."""
    result = {}
    for path, source in generated.items():
        text = text_of(source)
        file = root / path
        if not file.is_file() or file.read_bytes() != text.encode():
            result[path] = text
    return result


def text_of(source: str) -> str:
    """What the function that is written as module:function returns."""
    module, _, function = source.partition(":")
    return str(getattr(importlib.import_module(module), function)())


def difference(file: Path, path: str, text: str) -> list[str]:
    """The first lines of what would change."""
    old = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    found = list(unified_diff(old, text.splitlines(), path, f"{path} (generated)", lineterm="", n=1))
    return [*found[:SHOWN], *(["…"] if len(found) > SHOWN else [])]
