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

from bootstrap.index import index_in_use
from bootstrap.problems import SetupProblem
from bootstrap.uvtool import find_uv, read_pins

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
    except SetupProblem as problem:
        print(problem.lines(), file=sys.stderr)
        return problem.code
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
    is_next(root, version)


def is_next(root: Path, version: str) -> None:
    """Raise Refused if its major line has that version or a later one already: the major tag would go back."""
    line = version.partition(".")[0]
    done = [name[1:] for name in tags_of(root) if VERSION.fullmatch(name[1:])]
    done = [name for name in done if name.partition(".")[0] == line]
    newest = max(done, key=numbers, default="")
    if newest and numbers(newest) >= numbers(version):
        raise Refused(f"{newest} is released already", f"take a version after {newest}")


def tags_of(root: Path) -> list[str]:
    """The tags that the checkout knows."""
    words = ["git", "tag", "--list", "v*"]
    return subprocess.run(words, cwd=root, capture_output=True, text=True, check=True).stdout.split()


def numbers(version: str) -> tuple[int, ...]:
    """The parts of a version, to be compared."""
    return tuple(int(part) for part in version.split("."))


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
    """Build wheel and archive from two clones of the commit; the digests, if both are the same. Raises Refused otherwise."""
    stamp = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as place:
        first, second = (
            built(root, Path(place) / name, stamp, umask) for name, umask in (("one", 0o022), ("two", 0o077))
        )
        if first != second:
            differ = ", ".join(
                sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
            )
            fix = "look for times, paths and permissions in what is packed"
            raise Refused(f"two builds of one commit differ: {differ}", fix)
        out.mkdir(parents=True, exist_ok=True)
        for name in first:
            shutil.copy2(Path(place) / "one" / "dist" / name, out / name)
    return [f"{digest}  {name}" for name, digest in sorted(first.items())]


def built(root: Path, place: Path, stamp: str, umask: int) -> dict[str, str]:
    """Build what is committed, and nothing that merely lies there; file names and their digests."""
    uv = find_uv(os.environ, index_in_use(os.environ), read_pins())  # a hosted runner has none of its own
    place.mkdir()
    clone = ["git", "clone", "--quiet", "--depth=1", root.as_uri(), str(place / "source")]
    subprocess.run(clone, check=True, umask=umask)
    build = [str(uv), "build", "--quiet", "--out-dir", str(place / "dist")]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": stamp}
    subprocess.run(build, cwd=place / "source", env=environ, check=True, umask=umask)
    kept = [path for path in (place / "dist").iterdir() if path.suffix in (".whl", ".gz")]
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
