"""Secrets: who gets them, what stands in their place, and what is too short to be one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import ConfigurationError, TrustError
from ci_runner.execution.secret_values import as_file, masks, scrub, secrets_of
from ci_runner.model import Event, Lane, Plan, Selection, Suite

SUITE = Suite(name="unit", title="unit", secrets=("A", "B"))


def plan(suite: Suite = SUITE, lane: Lane = Lane.SAME_REPOSITORY) -> Plan:
    selection = Selection(suite=suite, reason="named", rule="command line")
    return Plan(event=Event(kind="push", lane=lane), selected=(selection,))


def test_values_come_from_the_runners_environment() -> None:
    assert secrets_of(plan(), {"A": "1", "B": "2", "C": "3"}) == {"unit": {"A": "1", "B": "2"}}
    assert secrets_of(plan(dataclasses.replace(SUITE, secrets=())), {}) == {}
    assert json.loads(as_file({"A": "é"})) == {"A": "é"}


@pytest.mark.parametrize("lane", [Lane.FORK, Lane.FORK_REVIEWED])
def test_code_of_a_fork_gets_none(lane: Lane) -> None:
    with pytest.raises(TrustError, match="code of a fork gets none"):
        secrets_of(plan(lane=lane), {"A": "1", "B": "2"})


def test_all_that_is_lacking_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match="A, B are not set"):
        secrets_of(plan(), {"A": ""})
    with pytest.raises(ConfigurationError, match=r"x=y cannot be the name"):
        secrets_of(plan(dataclasses.replace(SUITE, secrets=("x=y",))), {})


def test_masks_hide_each_line_and_nothing_that_is_everywhere() -> None:
    assert masks([{"A": "the first%\nthe second", "B": "word"}]) == [
        "::add-mask::the first%25%0Athe second",
        "::add-mask::the first%25",
        "::add-mask::the second",
    ]


# no letter of the words around it, and no mark that JSON is made of
SECRETS = st.text(
    st.characters(categories=["Lu", "N", "Sm", "So"], include_characters="&<>'\n"), min_size=8, max_size=40
)


@given(value=SECRETS.filter(lambda text: len(text.strip()) >= 8))
def test_no_form_of_a_value_is_left(value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("attempt")
    log = folder / "log"
    text = value.strip()
    log.write_bytes(f"<{text}> {text}{text}".encode("utf-8", "surrogateescape"))
    (folder / "a").mkdir()
    (folder / "a" / "cases.jsonl").write_text(json.dumps({"message": f"it is {text}"}), encoding="utf-8")
    scrub(folder / "a", [log], {"A": value})
    assert text.encode("utf-8", "surrogateescape") not in log.read_bytes().replace(b"***", b"")
    assert json.loads((folder / "a" / "cases.jsonl").read_text())["message"] == "it is ***"


def test_links_and_data_bases_are_left_alone(tmp_path: Path) -> None:
    outside = tmp_path.parent / "outside.txt"
    outside.write_text("hunter2-hunter2")
    (tmp_path / "link").symlink_to(outside)
    (tmp_path / "data").write_bytes(b"SQLite\0hunter2-hunter2")
    scrub(tmp_path, [], {"A": "hunter2-hunter2", "B": "word"})
    assert outside.read_text() == "hunter2-hunter2"
    assert (tmp_path / "data").read_bytes() == b"SQLite\0hunter2-hunter2"


def test_an_ordinary_word_is_no_secret_and_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "sidecar.jsonl").write_text('{"event": "test", "id": "a::test_b"}')
    scrub(tmp_path, [], {"A": "test", "B": ""})
    assert json.loads((tmp_path / "sidecar.jsonl").read_text())["event"] == "test"
