"""CPU time of a plan for 1,000 suites and 10,000 changed files, as GitHub lists them: python tests/bench/bench_plan.py."""

from __future__ import annotations

import dataclasses
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ci_runner.config.settings import Settings
from ci_runner.model import ChangedFile, Event, Suite, When
from ci_runner.plan.explain import plan_text
from ci_runner.plan.select import select

SUITES = 1_000
FILES = 10_000
LIMIT = 1.0  # seconds of CPU
KINDS: dict[str, Callable[[int], tuple[str, ...]]] = {
    "by folder": lambda n: (f"src/module_{n}/**", f"!src/module_{n}/docs/**", f"tests/module_{n}/**"),
    "by kind of file": lambda n: ("**/*.py", "!**/generated/**", f"cmake/part_{n}.txt"),
    "anywhere in the path": lambda n: (f"**/feature_{n}/**", f"**/*_{n}.py", "!**/README.md"),
    "stars and alternatives": lambda n: (
        f"src/**/test_*_{n}*.{{py,pyi}}",
        f"src/module_{n % 50}*/**/[a-m]*.c",
    ),
    "everything matches": lambda n: ("**",),
    "nothing matches": lambda n: (f"absent_{n}/**/x*y*z*", f"**/absent_{n}/*"),
}


def files() -> tuple[ChangedFile, ...]:
    """Paths of a large repository, the same ones each time."""
    rng = random.Random(7)
    return tuple(
        ChangedFile(
            path=f"{rng.choice(('src', 'tests', 'docs', 'third_party'))}/module_{rng.randrange(900)}/"
            f"{rng.choice(('core', 'generated', 'docs', f'feature_{rng.randrange(2000)}'))}/"
            f"{rng.choice(('test_', ''))}file_{number}.{rng.choice(('py', 'c', 'h', 'md', 'pyi'))}"
        )
        for number in range(FILES)
    )


def settings_for(patterns: Callable[[int], tuple[str, ...]]) -> Settings:
    """1,000 suites whose paths are of one kind."""
    suites = {
        f"suite_{n}": Suite(
            name=f"suite_{n}",
            title=f"Suite{n}",
            when=When(events=("pull_request",), paths=patterns(n), labels=(f"run-{n}",)),
        )
        for n in range(SUITES)
    }
    return Settings(root=Path(), suites=suites)


def seconds(event: Event, settings: Settings) -> tuple[float, int, int]:
    """CPU seconds of the plan and its explanation, suites selected, characters of text."""
    started = time.process_time()
    plan = select(event, settings)
    text = plan_text(plan, settings, explain=True)
    return time.process_time() - started, len(plan.selected), len(text)


def main() -> int:
    """Print the table; 1 if a row is over the limit."""
    event = Event(kind="pull_request", action="synchronize", base_branch="main", changed_files=files())
    worst = 0.0
    print(f"{SUITES:,} suites × {FILES:,} changed files, limit {LIMIT:g} s of CPU")
    mixed = tuple(KINDS.values())
    kinds = {**KINDS, "all kinds mixed": lambda n: mixed[n % 4](n)}
    for name, patterns in kinds.items():
        took, selected, _size = seconds(dataclasses.replace(event), settings_for(patterns))
        worst = max(worst, took)
        print(f"  {name:24} {took:6.3f} s   {selected:5,} suites selected")
    print(f"worst {worst:.3f} s: {'within' if worst < LIMIT else 'OVER'} the limit")
    return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
