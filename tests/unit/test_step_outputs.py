"""Outputs of a step: no value ends itself early or speaks for another one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.errors import UsageError
from ci_runner.github.outputs import write_outputs


def read_outputs(text: str) -> dict[str, str]:
    """What a runner reads: NAME<<WORD, lines, WORD."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        name, word = line.split("<<", 1)
        kept = []
        for inner in lines:
            if inner == word:
                break
            kept.append(inner)
        else:
            raise AssertionError(f"the output {name} never ends")
        found[name] = "\n".join(kept)
    return found


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=4))
def test_what_is_written_is_what_a_runner_reads(values: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "output")
        named = {f"name{number}": value for number, value in enumerate(values)}
        write_outputs(path, named)
        with path.open(encoding="utf-8", newline="") as file:
            assert read_outputs(file.read()) == named


def test_a_value_cannot_bring_an_output_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_text("before=1\n")
    write_outputs(path, {"matrix": "x\nEOF\nci_runner_\ntrusted=true\nother<<EOF\nno\nEOF"})
    text = path.read_text()
    assert text.startswith("before=1\nmatrix<<ci_runner_")
    assert list(read_outputs(text.removeprefix("before=1\n"))) == ["matrix"]


def test_each_value_has_a_word_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "output"
    write_outputs(path, {"a": "1", "b": "2"})
    words = re.findall(r"<<(ci_runner_[0-9a-f]{32})\n", path.read_text())
    assert len(set(words)) == 2


def test_half_a_surrogate_pair_is_shown_and_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "output"
    write_outputs(path, {"branch": "a\ud800b", "next": "1"})
    assert read_outputs(path.read_text()) == {"branch": "a\\ud800b", "next": "1"}


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write the outputs") as caught:
        write_outputs(tmp_path / "no" / "output", {"a": "1"})
    assert "GITHUB_OUTPUT" in str(caught.value.fix)
