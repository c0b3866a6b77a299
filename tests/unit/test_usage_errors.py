"""Wrong words on the command line end in two lines, like every other error."""

from __future__ import annotations

import pytest

from ci_runner.cli.main import guarded, main


@pytest.mark.parametrize(
    ("words", "what", "where"),
    [
        (["bogus"], "invalid choice: 'bogus'", "ci-runner"),
        (["run", "--bogus"], "unrecognized arguments: --bogus", "ci-runner run"),
        (["run", "--format", "xml"], "argument --format: invalid choice: 'xml'", "ci-runner run"),
        (["run", "--max-minutes", "0"], "'0' is no number of minutes above 0", "ci-runner run"),
        (["results", "merge", "a.xml"], "required: --output/-o", "ci-runner results merge"),
        (["run", "--x\n::error::y"], "unrecognized arguments: --x", "ci-runner run"),
    ],
)
def test_a_word_that_does_not_fit(
    words: list[str], what: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    said = capsys.readouterr()
    error, fix = said.err.splitlines()
    assert error.startswith("ci-runner: error: ")
    assert what in error
    assert fix == f"fix: see {where} --help"
    assert said.out == ""


def test_a_locale_that_cannot_write_a_name_is_an_error_with_a_way_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert guarded(lambda: len("p\xe4th".encode("ascii"))) == 2
    error, fix = capsys.readouterr().err.splitlines()
    assert error == "ci-runner: error: '\\xe4' has no place in this locale's ascii"
    assert "PYTHONUTF8=1" in fix


def test_text_that_no_locale_can_write_is_not_blamed_on_one() -> None:
    with pytest.raises(UnicodeEncodeError):
        guarded(lambda: len("\udc80".encode()))
