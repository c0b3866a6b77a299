"""What has to agree before there is a release, and what the release writes."""

from __future__ import annotations

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
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    for name in steps.DOCKER_ACTIONS:
        folder = tmp_path / "actions" / name
        folder.mkdir(parents=True)
        (folder / "action.yml").write_text((ROOT / "actions" / name / "action.yml").read_text())
    # a unit test starts no process: the tags are as if nothing had been released
    monkeypatch.setattr(steps, "tags_of", lambda *_: [])
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


@pytest.mark.parametrize(
    ("tags", "refused"),
    [
        ([], ""),
        (["v1", "v1.2.2", "v2.0.0", "v1.3.0-rc1", "v10.0.0"], ""),
        (["v1.2.3"], "1.2.3 is released already"),
        (["v1.2.9", "v1.2.10"], "1.2.10 is released already"),
    ],
)
def test_a_major_line_only_goes_on(
    root: Path, monkeypatch: pytest.MonkeyPatch, tags: list[str], refused: str
) -> None:
    monkeypatch.setattr(steps, "tags_of", lambda *_: tags)
    if not refused:
        check(root, "1.2.3")
        return
    with pytest.raises(Refused, match=refused) as caught:
        check(root, "1.2.3")
    assert "take a version after" in caught.value.fix


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


def test_errors_are_said_with_their_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert steps.main(["check", "not-a-version"]) == 1
    said = capsys.readouterr().err
    assert "is no version" in said
    assert "fix: write it as MAJOR.MINOR.PATCH" in said
