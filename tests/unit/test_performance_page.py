"""The page about statistics: each block of Python prints what the page says that it prints."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "performance.md"
PAIRS = re.findall(
    r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
)


def test_no_block_is_without_its_output() -> None:
    text = PAGE.read_text("utf-8")
    assert len(PAIRS) == text.count("```python\n") == text.count("```text\n") > 3


@pytest.mark.parametrize(("code", "said"), PAIRS, ids=[f"block {number}" for number in range(len(PAIRS))])
def test_every_number_is_printed_by_the_code_above_it(code: str, said: str) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, str(PAGE), "exec"), {})
    assert out.getvalue() == said
