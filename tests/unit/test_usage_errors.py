"""Wrong words on the command line end in two lines, like every other error."""

from __future__ import annotations

import pytest

from ci_runner.cli.main import main


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
