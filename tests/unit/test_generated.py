"""Generated files: found stale, written, and the page of the command line whole."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser
from pathlib import Path

import pytest
from generated import command_line, write
from generated.command_line import arguments, text

from ci_runner.cli.main import COMMANDS
from ci_runner.errors import EXIT_CODES

SOURCE = "generated.command_line:text"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one generated page, a/page.md, whose text is `new`."""
    monkeypatch.setattr(write, "ROOT", tmp_path)
    monkeypatch.setattr(write, "GENERATED", {"a/page.md": SOURCE})
    monkeypatch.setattr(command_line, "text", lambda: "one\nnew\n")
    return tmp_path


def test_a_page_that_is_not_there_is_written_and_then_current(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write.main(["--check"]) == 1
    assert not (checkout / "a").exists()
    assert write.main([]) == 0
    assert (checkout / "a" / "page.md").read_text() == "one\nnew\n"
    assert capsys.readouterr().out.endswith("wrote a/page.md\n")
    assert write.main(["--check"]) == 0
    assert write.main([]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("old", [b"one\nold\n", b"one\r\nnew\r\n", b"one\nnew", b"\xff"])
def test_any_difference_is_stale_and_is_shown(
    checkout: Path, capsys: pytest.CaptureFixture[str], old: bytes
) -> None:
    page = checkout / "a" / "page.md"
    page.parent.mkdir()
    page.write_bytes(old)
    assert write.main(["--check"]) == 1
    assert page.read_bytes() == old
    said = capsys.readouterr()
    assert said.err == "stale: a/page.md\nfix: scripts/generate, and commit what it writes\n"
    if b"old" in old:
        assert "-old\n+new" in said.out


def test_the_page_has_every_command_and_exit_code() -> None:
    page = text()
    for name in COMMANDS:
        assert f"\n## ci-runner {name}\n" in page
    for code, words in EXIT_CODES.items():
        assert f"\n| {code} | {words} |\n" in page


def test_arguments_are_written_as_a_person_types_them() -> None:
    parser = ArgumentParser(prog="tool", add_help=False)
    parser.add_argument("suite", nargs="*", metavar="SUITE", help="which, a|b")
    parser.add_argument("-o", "--out", metavar="DIR", default="here", help="where (default: %(default)s)")
    parser.add_argument("--kind", choices=["x", "y"], required=True, help="one of %(choices)s")
    parser.add_argument("--flag", action="store_true", help="100%% of %(prog)s")
    parser.add_argument("--pair", nargs=2, metavar=("A", "B"))
    parser.add_argument("--some", nargs="+")
    parser.add_argument("--hidden", help=argparse.SUPPRESS)
    sub = parser.add_subparsers().add_parser("list", help="list <them>", add_help=False)
    sub.add_argument("key", metavar="ID|KEY")
    assert list(arguments(parser, "###")) == [
        "",
        "| argument | meaning |",
        "|---|---|",
        "| `[SUITE …]` | which, a\\|b |",
        "| `-o`, `--out DIR` | where (default: here) |",
        "| `--kind {x,y}` | one of x, y (required) |",
        "| `--flag` | 100% of tool |",
        "| `--pair A B` |  |",
        "| `--some SOME [SOME …]` |  |",
        "",
        "### tool [SUITE ...] list",
        "",
        "List &lt;them>.",
        "",
        "| argument | meaning |",
        "|---|---|",
        "| `ID\\|KEY` |  |",
    ]
