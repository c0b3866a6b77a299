"""Writes scripts/bootstrap/uv.json: which uv is used, and the hash of its wheel for each kind of machine.

Run by a maintainer: `.venv/bin/python scripts/bootstrap/pin_uv.py VERSION`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PLATFORMS = {
    "linux-x86_64-gnu": ("manylinux_2_17_x86_64",),
    "linux-x86_64-musl": ("musllinux_1_1_x86_64",),
    "linux-aarch64-gnu": ("manylinux_2_17_aarch64", "manylinux_2_28_aarch64"),
    "linux-aarch64-musl": ("musllinux_1_1_aarch64",),
    "macos-x86_64": ("macosx_10_12_x86_64",),
    "macos-aarch64": ("macosx_11_0_arm64",),
}


def main(words: list[str]) -> int:
    """Ask PyPI for the version's files and write the pins."""
    from bootstrap.index import ACCEPTED, LARGEST_PAGE, PYPI
    from bootstrap.uvtool import PINS
    from bootstrap.web import Web

    if len(words) != 1:
        print("usage: pin_uv.py VERSION", file=sys.stderr)
        return 2
    page = Web(os.environ).read(f"{PYPI}/uv/", limit=LARGEST_PAGE, accept=ACCEPTED)
    pins = {"version": words[0], "wheels": chosen(json.loads(page.content)["files"], words[0])}
    PINS.write_text(json.dumps(pins, indent=2) + "\n", encoding="utf-8")
    return 0


def chosen(files: Iterable[Mapping[str, Any]], version: str) -> dict[str, dict[str, str | int]]:
    """The pins for each kind of machine; a kind without a wheel is an error."""
    wheels: dict[str, dict[str, str | int]] = {}
    start = f"uv-{version}-py3-none-"
    mine = [file for file in files if file["filename"].startswith(start)]
    for kind, tags in PLATFORMS.items():
        for tag in tags:
            found = [file for file in mine if tag in tags_of(file["filename"], start)]
            if found:
                wheels[kind] = pin(found[0])
                break
        else:
            raise SystemExit(f"uv {version} has no wheel for {kind}")
    return wheels


def tags_of(filename: str, start: str) -> list[str]:
    """The platforms that a wheel is for."""
    return filename.removeprefix(start).removesuffix(".whl").split(".")


def pin(file: Mapping[str, Any]) -> dict[str, str | int]:
    """What must be known of one file."""
    return {
        "filename": file["filename"],
        "sha256": file["hashes"]["sha256"],
        "size": file["size"],
        "url": file["url"],
    }


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main(sys.argv[1:]))
