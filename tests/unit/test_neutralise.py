"""Foreign text on a runner's stdout: nothing that it says is obeyed, and what is harmless stays as it is."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.github.commands import (
    StopCommands,
    command,
    escape_data,
    escape_property,
    neutralise,
    one_line,
)

PIECES = st.lists(
    st.sampled_from(
        [
            "::",
            ":",
            "##[",
            "##",
            "[error]",
            "\r",
            "\n",
            "\x1b[31m",
            "\x1b]0;",
            "\x07",
            "\u202e",
            " ",
            "a",
            "\x85",
            "é",
            "😀",
        ]
    )
    | st.text(max_size=3),
    max_size=20,
).map("".join)


def obeyed(line: str) -> bool:
    """Whether GitHub's runner would take this line as a command."""
    return line.lstrip().startswith("::") or "##[" in line


@given(PIECES)
def test_no_line_is_a_command(text: str) -> None:
    safe = neutralise(text)
    assert not any(obeyed(line) for line in re.split("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", safe))
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", safe
    )
    assert "\n" not in one_line(text)
    assert not obeyed(one_line(text))
    safe.encode()


@given(st.text(st.characters(categories=["L", "N"], include_characters=" .,:/[]()'\""), max_size=50))
def test_plain_text_stays(text: str) -> None:
    text = f"x {text}"
    assert neutralise(text) == text
    assert one_line(text) == text


@pytest.mark.parametrize(
    ("foreign", "safe"),
    [
        ("::set-output name=x::y", "\\::set-output name=x::y"),
        ("  ::error::x\r::warning::y", "  \\::error::x\n\\::warning::y"),
        ("see ##[error]b", "see ##\\[error]b"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        (":\x1b[0m:error::x", "\\::error::x"),
        ("##\x1b[31m[error]x", "##\\[error]x"),
        ("\u202eabc\x00", "\\u202eabc\\x00"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("tests/test_a.py::test_b[é-😀]", "tests/test_a.py::test_b[é-😀]"),
        ("a\r\nb", "a\nb"),
    ],
)
def test_known_tricks(foreign: str, safe: str) -> None:
    assert neutralise(foreign) == safe


def test_one_line_shows_line_ends_and_cuts() -> None:
    assert one_line("a\nb\tc\r\nd") == "a\\nb c\\nd"
    assert one_line("x" * 1_000_000, 10) == "xxxxxxxxx…"


@pytest.mark.parametrize(
    "text", ["\n" * 200_000, "\x1b]" * 200_000, " " * 200_000 + "::", "\x1b]" + "a" * 200_000]
)
def test_hostile_length_costs_linear_time(text: str) -> None:
    started = time.process_time()
    neutralise(text)
    assert time.process_time() - started < 2


def test_commands_of_our_own() -> None:
    assert escape_data("50 %\r\n") == "50 %25%0D%0A"
    assert escape_property("a:b,c") == "a%3Ab%2Cc"
    line = command("error", "first\n::set-env::", file="a,b.py", line=3, col=None)
    assert line == "::error file=a%2Cb.py,line=3::first%0A\\::set-env::"
    assert command("notice", "x") == "::notice::x"


def test_stop_commands_pair_up() -> None:
    written: list[str] = []
    stop = StopCommands(written.append, token="t0ken")
    stop.stop()
    stop.stop()
    stop.resume()
    stop.resume()
    assert written == ["::stop-commands::t0ken\n", "::t0ken::\n"]
    assert StopCommands(written.append)._token != StopCommands(written.append)._token
