"""What has to agree before there is a release, and what the release writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from releases import steps
from releases.steps import Refused, check, notes, pin_image

ROOT = Path(__file__).resolve().parents[2]
CHANGES = """\
# Changelog

## [Unreleased]

## [1.2.3] - 2026-11-23

### Added

- This.

## [1.2.2] - 2026-01-01

- That.
"""
IMAGE = f"ghcr.io/org/kpt@sha256:{'a' * 64}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    for name in steps.DOCKER_ACTIONS:
        folder = tmp_path / "actions" / name
        folder.mkdir(parents=True)
        (folder / "action.yml").write_text((ROOT / "actions" / name / "action.yml").read_text())
    return tmp_path


def test_the_notes_are_the_changelogs_section(root: Path) -> None:
    check(root, "1.2.3")
    assert notes(root, "1.2.3") == "### Added\n\n- This."


@pytest.mark.parametrize(
    ("version", "changes", "why"),
    [
        ("v1.2.3", CHANGES, "no version"),
        ("1.2", CHANGES, "no version"),
        ("1.2.03", CHANGES, "no version"),
        ("1.2.3\n", CHANGES, "no version"),
        ("1.2.2", CHANGES, "pyproject.toml says 1.2.3"),
        ("1.2.3", CHANGES.replace(" - 2026-11-23", ""), "no dated heading"),
        ("1.2.3", CHANGES.replace("### Added\n\n- This.\n", ""), "tells nothing"),
    ],
)
def test_what_does_not_agree_is_refused(root: Path, version: str, changes: str, why: str) -> None:
    (root / "CHANGELOG.md").write_text(changes)
    with pytest.raises(Refused, match=why) as caught:
        check(root, version)
    assert caught.value.fix


def test_the_image_is_written_into_both_docker_actions_once(root: Path) -> None:
    pin_image(root, IMAGE)
    for name in steps.DOCKER_ACTIONS:
        text = (root / "actions" / name / "action.yml").read_text()
        assert f"\n  image: docker://{IMAGE}\n" in text
        assert "Dockerfile" not in text
    with pytest.raises(Refused, match="does not build"):
        pin_image(root, IMAGE)


@pytest.mark.parametrize("image", ["ghcr.io/org/kpt:1", "ghcr.io/org/kpt@sha256:abc", f"{IMAGE}\n  x: y", ""])
def test_an_image_without_a_digest_is_refused(root: Path, image: str) -> None:
    with pytest.raises(Refused, match="digest"):
        pin_image(root, image)


def test_builds_that_differ_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digests = iter([{"x.whl": "1"}, {"x.whl": "2"}])
    monkeypatch.setattr(steps, "_built", lambda *_: next(digests))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": "1"}))
    with pytest.raises(Refused, match=r"differ: x\.whl"):
        steps.build_twice(root, tmp_path / "out")


def test_errors_are_said_with_their_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert steps.main(["check", "not-a-version"]) == 1
    said = capsys.readouterr().err
    assert "is no version" in said
    assert "fix: write it as MAJOR.MINOR.PATCH" in said
