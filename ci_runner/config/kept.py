"""Settings that were read before: on a person's machine the same files need not be checked again at every start.

To check a configuration takes a library whose import alone is a tenth of a second. What came of it is kept in the person's
cache folder, under a digest of every file that was read and of the code that read it. Variables that set something, and
CI systems, whose caches may be anybody's, always get the whole check.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ci_runner import codec
from ci_runner.config.places import is_setting, sources_of
from ci_runner.config.settings import Settings

OLD_SECONDS = 30 * 24 * 3600.0
LARGEST = 1 << 20


def settings_at(start: Path, *, environ: Mapping[str, str], config_file: Path | None = None) -> Settings:
    """What `load_settings` gives, from the cache where it is there. Raises what `load_settings` raises."""
    place = _place(start, environ, config_file)
    if place is not None and (found := _read(place)) is not None:
        return found
    from ci_runner.config.load import load_settings

    settings = load_settings(start, environ=environ, config_file=config_file)
    if place is not None:
        _keep(place, settings)
    return settings


def _place(start: Path, environ: Mapping[str, str], config_file: Path | None) -> Path | None:
    """The file of the cache; None where nothing is to be kept."""
    base = environ.get("XDG_CACHE_HOME") or (f"{environ['HOME']}/.cache" if environ.get("HOME") else "")
    if not base.startswith("/") or environ.get("CI") or environ.get("GITHUB_ACTIONS"):
        return None
    if any(map(is_setting, environ)):
        return None
    try:
        root, files = sources_of(start, environ, config_file)
        digest = hashlib.sha256(b"\0".join(_facts(root, files)))
    except OSError:
        return None  # whoever checks says what cannot be read
    return Path(base, "ci-runner", "settings", f"{digest.hexdigest()[:40]}.json")


def _facts(root: Path, files: list[Path]) -> Iterator[bytes]:
    """Everything that the settings depend on."""
    yield os.fsencode(root)
    for path in files:
        yield os.fsencode(path)
        yield hashlib.sha256(path.read_bytes()).digest() if os.path.lexists(path) else b"absent"
    package = Path(__file__).parent
    for folder in (package, package.parent):
        for entry in sorted(os.scandir(folder), key=lambda item: item.name):
            if entry.name.endswith(".py"):
                found = entry.stat()
                yield f"{entry.name} {found.st_size} {found.st_mtime_ns}".encode()


def _read(place: Path) -> Settings | None:
    try:
        if place.stat().st_uid != os.getuid():
            return None
        data = json.loads(place.read_bytes())
        return dataclasses.replace(codec.build(Settings, data), root=Path(data["root"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # absent, of another version, or damaged: it is read from the files


def _keep(place: Path, settings: Settings) -> None:
    """Write it down, whole or not at all; a full disk or a value that JSON has not is no reason to stop."""
    if settings.notify:
        return  # its times of day are none of JSON's
    temporary = place.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        data = {**codec.plain(settings), "root": str(settings.root)}
        # values as they were written are only shown to people, so a date among them may be kept as its text
        text = json.dumps({**data, "values": json.loads(json.dumps(data["values"], default=str))})
        if _differs(json.loads(text), settings) or len(text) > LARGEST:
            return
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_old(place.parent)
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(place)
    except (OSError, ValueError, TypeError):
        with suppress(OSError):
            temporary.unlink()


def _differs(data: Mapping[str, object], settings: Settings) -> bool:
    """Whether anything that decides something is lost on the way to JSON and back."""
    back = dataclasses.replace(codec.build(Settings, data), root=settings.root, values=settings.values)
    return codec.plain(back) != codec.plain(settings) or back.suites != settings.suites


def _forget_old(folder: Path) -> None:
    now = time.time()
    for entry in os.scandir(folder):
        if now - entry.stat().st_mtime > OLD_SECONDS:
            Path(entry.path).unlink(missing_ok=True)
