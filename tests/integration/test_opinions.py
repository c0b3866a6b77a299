"""`ci-runner kpi --apply` on a stateful GitHub: thumbs are counted, and the one issue is opened once and then updated."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ci_runner.cli import main as cli
from ci_runner.history.feedback import load_feedback
from ci_runner.history.record import Record
from ci_runner.history.store import FolderStore
from ci_runner.plan.flags import DEFAULT_FLAG
from tests.emulators.github.world import Comment
from tests.github_kit import NUMBER, Hub, emulated_github

OURS = "<!-- ci-runner:comment tests -->\n### all green"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with emulated_github() as found:
        for name, value in found.environ.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "ci-runner.toml").write_text('[suites.unit]\ntests = ["tests"]\n')
        monkeypatch.chdir(tmp_path)
        yield found


def keep(store: FolderStore, good: int, bad: int) -> None:
    """Runs of the python runner, and runs in which the shell had to take over."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    ok = {"runner": "python", "state": "finished", "kind": "suite", "duration_seconds": 9.0}
    broken = {**ok, "state": "runner-failed"}
    for number in range(good + bad):
        run = f"{now:%Y%m%d-%H%M%S}-{number:04x}"
        record = Record(
            run_id=run,
            test_suite="unit",
            timestamp=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            platform="local",
            runner="python" if number < good else "shell",
            fallback_reason=None if number < good else "the runner broke",
            results={"passed": 9},
            flag={"flag": DEFAULT_FLAG, "variant": "python", "reason": "default"},
            attempt_details=(ok,) if number < good else (broken, {**ok, "runner": "shell"}),
        )
        data = json.dumps(dataclasses.asdict(record)).encode()
        store.put_new(f"daily/{now:%Y-%m-%d}/local-unit-none-{run}.json", data)


def call(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["kpi", "--store", str(store.root), "--apply"]) in (0, 1)
    return capsys.readouterr().out


def test_the_issue_is_opened_once_and_updated(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path / "store")
    keep(store, 30, 12)
    assert "issue    opened issue #8: The python runner misses its targets" in call(store, capsys)
    (issue,) = hub.issues()
    assert issue.labels == ["ci-runner-kpi"]
    assert issue.body.startswith(f"<!-- ci-runner-kpi:{DEFAULT_FLAG} -->")
    issue.author = "mallory"  # somebody copied the mark
    from ci_runner.checks.kpi_alerts import Issue
    from ci_runner.report.publish.opinions import keep_issue

    again = Issue(key=f"ci-runner-kpi:{DEFAULT_FLAG}", title="t", body=issue.body)
    assert keep_issue(hub.client(), again) == "opened issue #9: t"
    assert keep_issue(hub.client(), again) == "unchanged: issue #9: t"
    assert keep_issue(hub.client(), dataclasses.replace(again, title="u")) == "updated issue #9: u"
    assert [each.title for each in hub.issues()][1:] == ["u"]


def test_thumbs_are_counted_on_our_comments_alone_and_written_once(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now, ours = hub.world.clock(), "github-actions[bot]"
    rows = [
        (1, ours, OURS, (3, 1)),
        (2, ours, OURS, (0, 0)),
        (3, "mallory", OURS, (99, 0)),
        (4, ours, "quoting " + OURS, (99, 0)),
    ]
    for number, author, body, given in rows:
        hub.repository.comments[number] = Comment(number, NUMBER, author, body, now, now, thumbs=given)
    store = FolderStore(tmp_path / "store")
    call(store, capsys)
    assert [(item.comment, item.up, item.down) for item in load_feedback(store, [])] == [("org/kpt#1", 3, 1)]
    written = list(store.list("feedback/"))
    call(store, capsys)
    assert list(store.list("feedback/")) == written
    hub.repository.comments[1].thumbs = (3, 2)
    assert "4 of 5" not in call(store, capsys)
    assert [item.down for item in load_feedback(store, [])] == [2]
