"""The pages: each is listed in the index, and every link inside the project leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# among the test data are comments and summaries, whose links are relative to where GitHub shows them
OTHERS = {"data", "node_modules"}
PAGES = sorted(
    page
    for pattern in ("*.md", "[!.]*/**/*.md", ".github/**/*.md")
    for page in ROOT.glob(pattern)
    if not OTHERS & set(page.relative_to(ROOT).parts)
)
LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
NAMED = re.compile(r"^\[[^\]]+\]: *(\S+)", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without what it only shows."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#{1,6} +(.+?)\s*$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE
    ):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = sum(
            known == name or re.fullmatch(re.escape(name) + r"-\d+", known) is not None for known in found
        )
        found.add(f"{name}-{number}" if number else name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    text = prose(page)
    for target in [*LINK.findall(text), *NAMED.findall(text)]:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if (
            not there.is_relative_to(ROOT)
            or not there.exists()
            or (anchor and there.suffix == ".md" and anchor not in anchors(there))
        ):
            broken.append(target)
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    listed = {(DOCS / target.partition("#")[0]).resolve() for target in LINK.findall(prose(index))}
    pages = {page for page in DOCS.rglob("*.md") if page != index and "examples" not in page.parts}
    assert sorted(page.relative_to(DOCS).as_posix() for page in pages - listed) == []
