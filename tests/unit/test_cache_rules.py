"""Which runs get caches, which may save them, and what a configuration may not say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci_runner.config.load import load_settings
from ci_runner.config.settings import Cache, Settings
from ci_runner.errors import ConfigurationError
from ci_runner.execution.caches import place_of, shelf_of
from ci_runner.history.store import MemoryStore, open_store
from ci_runner.model import Event, Lane, Plan
from tests.packages import needed

GOOD = """\
[stores]
caches = "s3://bucket/caches"
[caches.pip]
path = "~/.cache/pip"
key = "pip-{files:uv.lock, requirements/*.txt}-{files:a}"
limit = "2GB"
timeout = "5m"
[suites.unit]
tests = ["tests"]
caches = ["pip"]
"""


def load(folder: Path, text: str) -> Settings:
    (folder / "ci-runner.toml").write_text(text)
    return load_settings(folder, environ={})


def test_a_cache_as_configured(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD)
    cache = settings.caches["pip"]
    assert (cache.path, cache.limit_bytes, cache.timeout_seconds) == ("~/.cache/pip", 2_000_000_000, 300.0)
    assert cache.patterns == (("uv.lock", "requirements/*.txt"), ("a",))
    assert cache.key_with(["1", "2"]) == "pip-1-2"
    assert settings.suites["unit"].caches == ("pip",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('caches = ["pip"]', 'caches = ["pop"]', 'there is no cache "pop" (did you mean "pip"?)'),
        ('caches = "s3', 'cache = "s3', 'stores.cache: nothing is kept there (did you mean "caches"?)'),
        ('caches = "s3', 'history = "s3', "there is no store for caches"),
        ("~/.cache/pip", "~", "is no folder of its own"),
        ("~/.cache/pip", "/", "is no folder of its own"),
        ("~/.cache/pip", ".", "is no folder of its own"),
        ("~/.cache/pip", "~/x/../..", "is no folder of its own"),
        ("~/.cache/pip", "~root/x", "is in the home of somebody else"),
        ("{files:a}", "{file:a}", "has a brace that is no {files:GLOB}"),
        ("{files:a}", "{files:../a}", "leads out of the project"),
        ("{files:a}", "{files:/a}", "leads out of the project"),
        ("{files:a}", "{files: , }", "is empty"),
        ('path = "~/.cache/pip"\n', "", "caches.pip.path"),
    ],
)
def test_what_a_cache_may_not_be(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    told = "\n".join(caught.value.problems)
    assert words in told, told


@pytest.mark.parametrize(
    ("event", "in_ci", "expected"),
    [
        ({"kind": "local"}, False, True),
        ({"kind": "local"}, True, False),
        ({"kind": "push", "branch": "main"}, True, True),
        ({"kind": "push", "branch": "topic"}, True, False),
        ({"kind": "push", "tag": "v1"}, True, False),
        ({"kind": "push", "branch": "trunk", "default_branch": "trunk"}, True, True),
        ({"kind": "push", "branch": "main", "default_branch": "trunk"}, True, False),
        ({"kind": "schedule", "branch": "main"}, True, True),
        ({"kind": "workflow_dispatch", "branch": "main"}, True, True),
        ({"kind": "pull_request", "branch": "main", "base_branch": "main"}, True, False),
        ({"kind": "workflow_run", "branch": "main"}, True, False),
        ({"kind": "merge_group", "branch": "main"}, True, False),
        ({"kind": "push", "branch": "main", "lane": Lane.FORK}, True, None),
        ({"kind": "pull_request", "branch": "x", "lane": Lane.FORK_REVIEWED}, True, None),
    ],
)
def test_who_gets_and_who_saves(
    tmp_path: Path, event: dict[str, Any], in_ci: bool, expected: bool | None
) -> None:
    settings = Settings(root=tmp_path, name="p", caches={"a": Cache(name="a", path="x")})
    shelf = shelf_of(Plan(event=Event(**event)), settings, "Org/Repo", MemoryStore, in_ci=in_ci)
    assert (shelf.may_save if shelf is not None else None) is expected
    assert shelf is None or shelf.place == "org--repo"


def test_without_caches_there_is_no_shelf(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    assert shelf_of(Plan(event=Event(kind="local")), settings, "", MemoryStore, in_ci=False) is None


@pytest.mark.parametrize(
    ("name", "place"),
    [("../x", "--x"), ("", "project"), ("Bär", "b--r"), ("A b/c", "a--b--c"), ("..", "project")],
)
def test_any_repository_has_a_place_that_is_a_key(name: str, place: str) -> None:
    assert place_of(name) == place
    MemoryStore().put_new(f"{place}/x", b"")


def test_the_history_alone_may_be_a_branch(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store("branch://x", tmp_path, "caches")
    assert caught.value.where == "stores.caches"
    assert "branch" not in str(caught.value.fix)


def test_a_bad_address_of_the_caches_is_called_theirs(tmp_path: Path) -> None:
    needed("obstore")
    with pytest.raises(ConfigurationError) as caught:
        open_store("s3://B", tmp_path, "caches")
    assert "location of the caches" in caught.value.what
