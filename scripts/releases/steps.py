"""The steps of a release: what has to agree, the notes, the same bytes twice, the image by its digest."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
IMAGE = re.compile(r"[a-z0-9.-]+(?::[0-9]+)?(?:/[a-z0-9._-]+)+@sha256:[0-9a-f]{64}")
BUILT_HERE = re.compile(r"^  image: \.\./\.\./Dockerfile.*$", re.MULTILINE)
DOCKER_ACTIONS = ("guard", "reap")


class Refused(Exception):  # noqa: N818 - it is what happened
    """Why there is no release, and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def main(words: Sequence[str]) -> int:
    """Do one step; what is wrong is said with its fix."""
    parser = argparse.ArgumentParser(prog="scripts/release", description="One step of a release.")
    steps = parser.add_subparsers(dest="step", required=True)
    for name, text in (
        ("check", "do the version, the changelog and the package agree?"),
        ("notes", "print the notes"),
    ):
        steps.add_parser(name, help=text).add_argument("version", help="such as 1.2.3")
    build = steps.add_parser("build", help="build twice, and keep what came out the same both times")
    build.add_argument("out", type=Path)
    pin = steps.add_parser("pin-image", help="let the Docker actions use an image by its digest")
    pin.add_argument("image", help="such as ghcr.io/org/kpt@sha256:…")
    arguments = parser.parse_args(words)
    try:
        if arguments.step == "check":
            check(ROOT, arguments.version)
        elif arguments.step == "notes":
            print(notes(ROOT, arguments.version))
        elif arguments.step == "build":
            print("\n".join(build_twice(ROOT, arguments.out)))
        else:
            pin_image(ROOT, arguments.image)
    except Refused as refused:
        print(f"scripts/release: error: {refused}\nfix: {refused.fix}", file=sys.stderr)
        return 1
    return 0


def check(root: Path, version: str) -> None:
    """Raise Refused unless the version is one, the package has it, and the changelog tells of it."""
    if VERSION.fullmatch(version) is None:
        raise Refused(f"{version[:40]!r} is no version", "write it as MAJOR.MINOR.PATCH, without a v")
    package = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    if package != version:
        raise Refused(
            f"pyproject.toml says {package}, and this is to be {version}", "set the version in pyproject.toml"
        )
    notes(root, version)


def notes(root: Path, version: str) -> str:
    """What the changelog tells of the version. Raises Refused if it is nothing."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.compile(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", re.MULTILINE)
    found = heading.search(text)
    if found is None:
        fix = f"turn its [Unreleased] into: ## [{version}] - YYYY-MM-DD"
        raise Refused(f"CHANGELOG.md has no dated heading for {version}", fix)
    told = re.split(r"^## ", text[found.end() :], maxsplit=1, flags=re.MULTILINE)[0].strip()
    if not told:
        raise Refused(f"CHANGELOG.md tells nothing of {version}", "write what changed")
    return told


def build_twice(root: Path, out: Path) -> list[str]:
    """Build wheel and archive in two places; the digests, if both came out the same. Raises Refused otherwise."""
    stamp = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory() as place:
        first, second = (_built(root, Path(place) / name, stamp.stdout.strip()) for name in ("one", "two"))
        if first != second:
            differ = ", ".join(name for name in first if first[name] != second.get(name))
            raise Refused(
                f"two builds of one commit differ: {differ}", "look for times and paths in what is packed"
            )
        out.mkdir(parents=True, exist_ok=True)
        for name in first:
            shutil.copy2(Path(place) / "one" / name, out / name)
    return [f"{digest}  {name}" for name, digest in sorted(first.items())]


def _built(root: Path, out: Path, stamp: str) -> dict[str, str]:
    uv = shutil.which("uv")
    if uv is None:
        raise Refused("uv is not on PATH", "install uv, or run this in the release workflow")
    environ = {**os.environ, "SOURCE_DATE_EPOCH": stamp}
    subprocess.run([uv, "build", "--quiet", "--out-dir", str(out)], cwd=root, env=environ, check=True)
    kept = [path for path in out.iterdir() if path.suffix in (".whl", ".gz")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def pin_image(root: Path, image: str) -> None:
    """Write the image into the Docker actions. Raises Refused without a digest, or if nothing is to be replaced."""
    if IMAGE.fullmatch(image) is None:
        raise Refused(f"{image[:120]!r} names no image by its digest", "write it as REGISTRY/NAME@sha256:…")
    for name in DOCKER_ACTIONS:
        path = root / "actions" / name / "action.yml"
        text, count = BUILT_HERE.subn(f"  image: docker://{image}", path.read_text(encoding="utf-8"))
        if count != 1:
            raise Refused(
                f"actions/{name} does not build its image here", "start from a commit that is not released"
            )
        path.write_text(text, encoding="utf-8")
