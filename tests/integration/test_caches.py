"""Caches of leased machines, from the first run that saves one to the ones that find it, or find it damaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.object_stores import Buckets
from tests.projects import Ended, Project, make_project
from tests.tpu_kit import lent_tpus

pytestmark = pytest.mark.needs("sshd")

TESTS = """\
import pathlib

def test_cache():
    place = pathlib.Path("~/.cache/weights").expanduser()
    place.mkdir(parents=True, exist_ok=True)
    found = sorted(path.name for path in place.iterdir())
    print("\\nFOUND", found)
    (place / pathlib.Path("make").read_text().strip()).write_bytes(b"0123456789" * 1000)
"""
CONFIGURATION = """\
[suites.unit]
tests = ["tests"]
machine = "tpu"
caches = ["weights"]

[caches.weights]
path = "~/.cache/weights"
key = "weights-{files:*.lock}"

[machines.tpu]
provider = "gcp-tpu"
type = "v6e-1"
zones = ["us-east5-b"]

[stores]
caches = "shelf"
"""
FILES = {"tests/test_a.py": TESTS, "w.lock": "1", "make": "one"}


@dataclasses.dataclass
class Place:
    """A project, and the cloud in which it leases."""

    project: Project
    environ: dict[str, str]

    def run(self, *words: str, **more: str) -> Ended:
        """One run that has to be green."""
        ended = self.project.ci(
            "run", "unit", "--format", "json", *words, cwd=None, **{**self.environ, **more}
        )
        assert ended.code == 0, ended
        return ended

    def found(self) -> str:
        """What the suite found on its machine."""
        logs = "".join(path.read_text() for path in (self.project.last_run() / "logs").iterdir())
        (line,) = {line for line in logs.splitlines() if line.startswith("FOUND")}
        return line

    def shelf(self, kind: str) -> list[Path]:
        """The files of the store."""
        return [path for path in (self.project.root / "shelf" / kind).rglob("*") if path.is_file()]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[dict[str, str]]:
    with lent_tpus(tmp_path / "m") as lent:
        yield lent.environ


@pytest.fixture
def place(tmp_path: Path, cloud: dict[str, str]) -> Callable[..., Place]:
    def make(configuration: str = CONFIGURATION, **environ: str) -> Place:
        project = make_project(tmp_path / "p", FILES, configuration=configuration)
        project.write({"pytest.ini": "[pytest]\naddopts = -s\n"})
        project.commit()
        return Place(project, {**cloud, **environ})

    return make


def findings(ended: Ended) -> list[Any]:
    return [item for item in ended.json["findings"] if item["code"] == "cache"]


def test_the_next_machine_has_what_the_last_one_left(place: Callable[..., Place]) -> None:
    there = place()
    first = there.run()
    assert there.found() == "FOUND []"
    assert "cache weights: nothing is kept yet" in first.err
    assert "saved in" in first.err
    there.project.write({"make": "two"})
    again = there.run()  # the same key: found, and not saved again
    assert there.found() == "FOUND ['one']"
    assert "fetched in" in again.err
    assert len(there.shelf("entries")) == 1
    there.project.write({"w.lock": "2"})
    other = there.run()  # another key: the newest of the others will do, and this one is saved
    assert there.found() == "FOUND ['one']"
    assert "cache weights of an earlier key" in other.err
    assert len(there.shelf("entries")) == 2
    there.run()
    assert there.found() == "FOUND ['one', 'two']"
    assert not any(findings(ended) for ended in (first, again, other))


def test_damage_costs_a_note_and_is_mended(place: Callable[..., Place]) -> None:
    there = place(CONFIGURATION.replace('key = "weights-{files:*.lock}"\n', ""))
    there.run()
    (part,) = there.shelf("parts")
    part.write_bytes(part.read_bytes()[:-1])
    ended = there.run()
    assert there.found() == "FOUND []"
    (finding,) = findings(ended)
    assert finding["level"] == "notice"
    assert "cache weights could not be fetched: a part holds other bytes" in finding["text"]
    assert len(there.shelf("entries")) == 2
    assert findings(there.run()) == []
    assert there.found() == "FOUND ['one']"
    assert len(there.shelf("entries")) == 2  # without a key it is saved when it has changed


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_bucket_keeps_them_and_one_that_is_gone_is_not_red(
    place: Callable[..., Place], scheme: str
) -> None:
    with Buckets(scheme) as bucket:
        there = place(CONFIGURATION.replace('"shelf"', f'"{bucket.location}"'), **bucket.environ)
        there.run()
        there.run()
        assert there.found() == "FOUND ['one']"
        assert any("/parts/" in name for name in bucket.names())
    ended = there.run(AWS_MAX_ATTEMPTS="1")
    assert there.found() == "FOUND []"
    texts = [finding["text"] for finding in findings(ended)]
    assert [text.partition(":")[0] for text in texts] == [
        "cache weights could not be fetched",
        "cache weights could not be saved",
    ]


def test_every_worker_of_a_slice_has_them(place: Callable[..., Place]) -> None:
    there = place(CONFIGURATION.replace("v6e-1", "v6e-16"))
    there.run()
    ended = there.run()
    assert findings(ended) == []
    logs = [path.read_text() for path in there.project.last_run().glob("attempts/*/workers/*/log")]
    assert len(logs) == 4
    assert all("FOUND ['one']" in log for log in logs)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limit": '"9kB"'}, "could not be saved: it has grown to 10000 bytes, more than its limit of 9000"),
        ({"path": '"make"'}, "is no folder"),
        ({"key": '"{files:no.lock}"'}, "no file is named no.lock, which its key asks for"),
    ],
)
def test_what_is_wrong_with_a_cache_is_told(
    place: Callable[..., Place], changes: dict[str, str], words: str
) -> None:
    lines = CONFIGURATION.replace('key = "weights-{files:*.lock}"\n', "")
    for key, value in changes.items():
        lines = lines.replace(
            'path = "~/.cache/weights"\n', "" if key == "path" else 'path = "~/.cache/weights"\n'
        )
        lines = lines.replace("[caches.weights]\n", f"[caches.weights]\n{key} = {value}\n")
    ended = place(lines).run()
    assert any(words in finding["text"] for finding in findings(ended)), ended.err


def test_on_this_machine_folders_are_what_they_are(place: Callable[..., Place], tmp_path: Path) -> None:
    there = place()
    there.run()
    home = tmp_path / "home-of-one"
    home.mkdir()
    there.run("--machine", "local", HOME=str(home))
    assert there.found() == "FOUND []"
    assert len(there.shelf("entries")) == 1
