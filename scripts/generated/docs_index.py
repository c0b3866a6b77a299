"""docs/README.md: every page by its title, under the kind of page that it is."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KINDS = (
    ("tutorial", "Tutorial", "from nothing to something that works"),
    ("how-to", "How to", "one task each"),
    ("reference", "Reference", "looked up, not read; most of it is made from the code"),
    ("explanation", "Explanation", "how it works, and why"),
    ("adr", "Decisions", "what somebody will question later, and why it is so"),
)


def docs_index() -> str:
    """The index."""
    lines = ["# The pages", "", "The house on one page: [architecture](architecture.md).", ""]
    for folder, name, what in KINDS:
        lines += [f"## {name}", "", f"{what[0].upper()}{what[1:]}.", ""]
        pages = sorted((ROOT / "docs" / folder).glob("*.md"))
        lines += [f"- [{title(page)}]({folder}/{page.name})" for page in pages]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def title(page: Path) -> str:
    """What a page calls itself; brackets would end the link."""
    lines = page.read_text(encoding="utf-8").splitlines()
    first = next((line for line in lines if line.startswith("# ")), page.stem)
    return first.removeprefix("# ").strip().replace("[", "(").replace("]", ")")
