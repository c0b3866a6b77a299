"""The machine's side of caches: folders become archives and come back, and no archive reaches outside of its folder."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ci_runner.execution.onboard import cache

LIMIT = 1 << 30


def order(folder: Path, path: str = "cache", **more: object) -> dict[str, Any]:
    return {
        "work": str(folder),
        "archive": str(folder / "archive.tar"),
        "path": path,
        "known": None,
        "limit": LIMIT,
        **more,
    }


def fill(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "blobs" / "größe 1").write_bytes(b"x" * 5000)
    (folder / "empty").mkdir()
    (folder / "tool").write_bytes(os.urandom(2000))
    (folder / "tool").chmod(0o755)
    (folder / "latest").symlink_to("blobs/größe 1")


def seen(folder: Path) -> dict[str, object]:
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else (path.stat().st_mode & 0o777, path.read_bytes())
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


def test_a_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    fill(tmp_path / "cache")
    before = seen(tmp_path / "cache")
    packed = cache.pack(order(tmp_path))
    assert packed["archive"] == (tmp_path / "archive.tar").stat().st_size
    unpacked = cache.unpack(order(tmp_path, "elsewhere/deep"))
    assert seen(tmp_path / "elsewhere" / "deep") == before
    assert unpacked == {key: packed[key] for key in ("print", "bytes", "files")}
    assert unpacked["files"] == 2
    assert not (tmp_path / "archive.tar").exists()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["deep"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text("abcä.-_ \n", min_size=1, max_size=8), st.binary(max_size=99), min_size=1, max_size=5
    )
)
def test_any_names_and_bytes_come_back(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "cache").mkdir()
    for name, data in files.items():
        if name not in (".", ".."):
            (folder / "cache" / name).write_bytes(data)
    before = seen(folder / "cache")
    if cache.pack(order(folder))["files"]:
        cache.unpack(order(folder, "new"))
        assert seen(folder / "new") == before


def test_what_has_not_changed_and_what_is_not_there_makes_no_archive(tmp_path: Path) -> None:
    assert cache.pack(order(tmp_path))["files"] == 0
    fill(tmp_path / "cache")
    known = cache.pack(order(tmp_path))["print"]
    (tmp_path / "archive.tar").unlink()
    assert "archive" not in cache.pack(order(tmp_path, known=known))
    assert not (tmp_path / "archive.tar").exists()
    (tmp_path / "cache" / "more").write_bytes(b"x")
    assert "archive" in cache.pack(order(tmp_path, known=known))


def test_what_is_there_already_stays(tmp_path: Path) -> None:
    fill(tmp_path / "cache")
    cache.pack(order(tmp_path))
    (tmp_path / "cache" / "tool").write_bytes(b"newer")
    (tmp_path / "cache" / "blobs" / "größe 1").unlink()
    (tmp_path / "cache" / "own").write_bytes(b"own")
    cache.unpack(order(tmp_path))
    found = seen(tmp_path / "cache")
    assert found["tool"] == (0o755, b"newer")
    assert found["own"] == (0o644, b"own")
    assert found["blobs/größe 1"] == (0o644, b"x" * 5000)


def test_only_what_shrinks_is_compressed(tmp_path: Path) -> None:
    for name, data in (("text", b"word " * 100_000), ("weights", os.urandom(500_000))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(data)
        size = cache.pack(order(tmp_path, name))["archive"]
        assert (size < 100_000) == (name == "text")
        cache.unpack(order(tmp_path, f"{name}-back"))
        assert (tmp_path / f"{name}-back" / "file").read_bytes() == data


def test_links_that_lead_out_and_what_is_no_file_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path / "cache")
    (tmp_path / "cache" / "etc").symlink_to("/etc")
    (tmp_path / "cache" / "up").symlink_to("../secret")
    os.mkfifo(tmp_path / "cache" / "pipe")
    cache.pack(order(tmp_path))
    with tarfile.open(tmp_path / "archive.tar") as archive:
        names = {os.path.normpath(name) for name in archive.getnames()}
    assert names == {".", "blobs", "blobs/größe 1", "empty", "tool", "latest"}


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"x"
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o4755
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    return info, data


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (member("/etc/passwd"), "outside"),
        (member("../x"), "outside"),
        (member("a/../../x"), "outside"),
        (member("link", tarfile.SYMTYPE, "/etc"), "leads out"),
        (member("a/link", tarfile.SYMTYPE, "../../x"), "leads out"),
        (member("hard", tarfile.LNKTYPE, "ok"), "no file"),
        (member("device", tarfile.CHRTYPE), "no file"),
        (member("pipe", tarfile.FIFOTYPE), "no file"),
    ],
)
def test_a_hostile_archive_puts_nothing_in_place(
    tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes], why: str
) -> None:
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        for info, data in (member("ok"), bad):
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(cache.UnusableError, match=why):
        cache.unpack(order(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive.tar"]


def test_modes_that_give_rights_are_taken_off(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        info, data = member("tool")
        archive.addfile(info, io.BytesIO(data))
    cache.unpack(order(tmp_path))
    assert (tmp_path / "cache" / "tool").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b" + b"\0" * 50])
def test_an_archive_that_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "archive.tar").write_bytes(data)
    with pytest.raises(cache.UnusableError, match="cannot be read"):
        cache.unpack(order(tmp_path))
    assert not (tmp_path / "cache").exists()


def test_an_archive_that_was_cut(tmp_path: Path) -> None:
    fill(tmp_path / "cache")
    size = cache.pack(order(tmp_path))["archive"]
    os.truncate(tmp_path / "archive.tar", size // 2)
    with pytest.raises(cache.UnusableError, match="cannot be read"):
        cache.unpack(order(tmp_path, "new"))
    assert not (tmp_path / "new").exists()


def test_what_is_too_large_or_has_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "cache")
    with pytest.raises(cache.UnusableError, match="7000 bytes, more than its limit of 6999"):
        cache.pack(order(tmp_path, limit=6999))
    monkeypatch.setattr(cache, "ROOM", 1 << 60)
    with pytest.raises(cache.UnusableError, match="the disk has"):
        cache.pack(order(tmp_path))
    assert not (tmp_path / "archive.tar").exists()


def test_a_file_is_no_folder_and_a_link_to_one_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(cache.UnusableError, match="is no folder"):
        cache.pack(order(tmp_path, "file"))
    fill(tmp_path / "real")
    (tmp_path / "cache").symlink_to("real")
    assert cache.pack(order(tmp_path))["files"] == 2


def test_the_files_of_a_key_are_read_by_name_and_content(tmp_path: Path) -> None:
    def digest(*patterns: str) -> tuple[str, int]:
        answer = cache.look({"work": str(tmp_path), "patterns": patterns})
        return answer["digest"], answer["files"]

    (tmp_path / "sub").mkdir()
    (tmp_path / "a.lock").write_bytes(b"1")
    (tmp_path / "sub" / "b.lock").write_bytes(b"2")
    both = digest("**/*.lock")
    assert both[1] == 2
    assert digest("a.lock", "sub/*.lock", "**/*.lock") == both
    (tmp_path / "sub" / "b.lock").write_bytes(b"3")
    assert digest("**/*.lock") != both
    (tmp_path / "sub" / "b.lock").write_bytes(b"2")
    (tmp_path / "sub" / "b.lock").rename(tmp_path / "sub" / "c.lock")
    assert digest("**/*.lock") != both
    assert digest("nothing*")[1] == 0


def test_the_script_answers_with_json_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["cache.py", "pack", str(tmp_path), str(tmp_path / "archive.tar")])
    for more, expected in (({"limit": LIMIT}, "archive"), ({"limit": 1}, "limit of 1")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"path": "cache", "known": None, **more})))
        if "archive" in expected:
            cache.main()
            assert json.loads(capsys.readouterr().out)["files"] == 2
        else:
            with pytest.raises(SystemExit, match=expected):
                cache.main()
    monkeypatch.setattr(sys, "argv", ["cache.py", "unpack", str(tmp_path), str(tmp_path / "gone.tar")])
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"path": "cache"}'))
    with pytest.raises(SystemExit, match="No such file"):
        cache.main()
