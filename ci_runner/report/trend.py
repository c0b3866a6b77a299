"""How long a suite took in its last runs, in characters that show everywhere. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ci_runner.report import words
from ci_runner.report.markdown import Trusted, text

BLOCKS = "▁▂▃▄▅▆▇█"
LEAST = 4  # runs; fewer are no trend
SHOWN = 12
FLAT = 0.1  # a spread of a tenth of the longest is shown as none: noise must not look like mountains


def blocks(values: Sequence[float]) -> str:
    """One block a value, the longest the highest; values that hardly differ look alike."""
    top, low = max(values), min(values)
    if top <= 0 or top - low <= FLAT * top:
        return BLOCKS[3] * len(values)
    return "".join(BLOCKS[round((value - low) / (top - low) * (len(BLOCKS) - 1))] for value in values)


def trend_line(name: str, seconds: Sequence[float], branch: str) -> Trusted | None:
    """The last runs of a suite on a branch, oldest first, this one last; None for too few."""
    kept = [value for value in seconds if value > 0][-SHOWN:]
    if len(kept) < LEAST:
        return None
    ends = f"{words.duration(kept[0])} → {words.duration(kept[-1])}"
    return Trusted(
        f"{text(name, 80)} {blocks(kept)} {ends}, the last {len(kept) - 1} runs of {text(branch, 80)} and this one"
    )
