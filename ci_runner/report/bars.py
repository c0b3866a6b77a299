"""Moving bars on a terminal; imported only where there is one, because rich is dear to start."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from ci_runner.github.commands import one_line
from ci_runner.report import words

if TYPE_CHECKING:
    from ci_runner.model import Attempt


class _Field(ProgressColumn):
    """A column whose text one function of the task makes."""

    def __init__(self, name: str) -> None:
        super().__init__(Column(no_wrap=True))
        self._name = name

    def render(self, task: Task) -> Text:
        """The text of this column for a task."""
        return {"suite": _suite, "count": _count, "failed": _failed, "time": _time}[self._name](task)


def _suite(task: Task) -> Text:
    return Text(str(task.description), style="bold")


def _count(task: Task) -> Text:
    total = words.number(int(task.total)) if task.total is not None else "?"
    return Text(f"{words.number(int(task.completed))}/{total}")


def _failed(task: Task) -> Text:
    failed = int(task.fields["failed"])
    return Text(f"{words.number(failed)} failed", style="bold red") if failed else Text("")


def _time(task: Task) -> Text:
    elapsed = task.elapsed or 0.0
    text = words.clock(elapsed)
    if task.total and 0 < task.completed < task.total and elapsed > 2:
        text += f", about {words.clock(elapsed * (task.total - task.completed) / task.completed)} left"
    cost = float(task.fields["cost"])
    return Text(f"{text}  {words.money(cost)}" if cost > 0 else text, style="dim")


class RichBars:
    """One line for each selection that runs, below everything that is printed."""

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        self._console = Console(
            file=stream, force_terminal=True, no_color=not color, highlight=False, emoji=False, markup=False
        )
        self._progress = Progress(
            _Field("suite"),
            BarColumn(bar_width=30),
            _Field("count"),
            _Field("failed"),
            _Field("time"),
            console=self._console,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._open = False

    def begin(self, attempt: Attempt, expected: int | None) -> None:
        """A bar for this selection, from zero."""
        if not self._open:
            self._progress.start()
            self._open = True
        if attempt.selection not in self._tasks:
            self._tasks[attempt.selection] = self._progress.add_task(
                one_line(attempt.selection, 32), total=expected, failed=0, cost=0.0
            )

    def advance(self, attempt: Attempt, done: int, expected: int | None, failed: int, cost: float) -> None:
        """The bar as it is now."""
        task = self._tasks.get(attempt.selection)
        if task is not None:
            self._progress.update(task, completed=done, total=expected, failed=failed, cost=cost)

    def above(self, text: str) -> None:
        """Print lines above the bars; `text` may hold our own colours."""
        self._console.print(Text.from_ansi(text.removesuffix("\n")), soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        if self._open:
            self._progress.stop()
            self._open = False
