"""Expected texts as files: `UPDATE_GOLDEN=1 pytest …` writes them anew, and the diff is read before it is committed."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "report"


def check(name: str, text: str) -> None:
    """Compare a text with its golden file."""
    file = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{file} differs; look, then UPDATE_GOLDEN=1"
