"""Coverage: what the readers make of files, right and wrong; how reports join; what a diff changed; what is told and red."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.checks.coverage import Figures, figures, findings, plain, ranges, told
from ci_runner.github.changed_lines import changed_lines, parse_diff
from ci_runner.model import Level, Suite
from ci_runner.results import coverage as reader
from ci_runner.results.coverage import FileLines, Unreadable, counted, join, read_coverage, within

JSON = {
    "meta": {"version": "7.17"},
    "files": {"src/a.py": {"executed_lines": [1, 2, 4], "missing_lines": [5]}},
}
COBERTURA = """<?xml version="1.0" ?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.75"><sources><source>src</source></sources><packages><package name="x"><classes>
<class name="a" filename="a.py"><methods><method name="m"><lines><line number="1" hits="1"/></lines></method></methods>
<lines><line number="1" hits="1"/><line number="2" hits="3"/><line number="4" hits="1"/><line number="5" hits="0"/></lines>
</class></classes></package></packages></coverage>"""
LCOV = "TN:\nSF:src/a.py\nFN:1,f\nDA:1,1\nDA:2,7,abc\nDA:4,1\nDA:5,0\nLF:4\nLH:3\nend_of_record\nDA:9,9\n"
EXPECTED = {"src/a.py": FileLines(frozenset({1, 2, 4}), frozenset({5}))}
lines = st.frozensets(st.integers(1, 30), max_size=10)
reports = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.builds(lambda c, m: FileLines(c, m - c), lines, lines), max_size=3
)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "report"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text", [json.dumps(JSON), COBERTURA, LCOV, "\ufeff" + LCOV, LCOV.replace("\n", "\r\n")]
)
def test_every_kind_says_the_same(tmp_path: Path, text: str) -> None:
    assert read_coverage(written(tmp_path, text)) == EXPECTED


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "neither"),
        (b"what", "neither"),
        (b"{", "no JSON"),
        (b'{"files": []}', "files"),
        (b"[" * 10, "neither"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "no JSON"),
        (b"<coverage>", "no XML"),
        (b"<html/>", "not Cobertura"),
        (b'<!DOCTYPE coverage [<!ENTITY a "b">]><coverage>&a;</coverage>', "entities"),
    ],
)
def test_what_is_no_report_is_said_to_be_none(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_coverage(written(tmp_path, data))


def test_numbers_that_no_line_has_are_left_out(tmp_path: Path) -> None:
    odd = {
        "files": {"a": {"executed_lines": [0, -1, 1, True, "2", 1e3, 10**9], "missing_lines": None}, "b": 3}
    }
    assert read_coverage(written(tmp_path, json.dumps(odd))) == {
        "a": FileLines(frozenset({1, 2}), frozenset())
    }
    assert read_coverage(written(tmp_path, "SF:a\nDA:x,1\nDA:1\nDA:3,-1\n")) == {
        "a": FileLines(frozenset(), frozenset({3}))
    }


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST", 3)
    with pytest.raises(Unreadable, match="more than 3 lines"):
        read_coverage(written(tmp_path, LCOV))
    monkeypatch.setattr(reader, "LARGEST", 3)
    with pytest.raises(Unreadable, match="larger"):
        read_coverage(written(tmp_path, LCOV))
    assert read_coverage(written(tmp_path, '{"files": {}}')) == {}
    monkeypatch.setattr(reader, "LARGEST_JSON", 3)
    with pytest.raises(Unreadable, match="larger"):
        read_coverage(written(tmp_path, '{"files": {}}'))


def test_a_line_of_lcov_without_an_end_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LONGEST", 16)
    text = "TN:" + "x" * 400 + "\n" + LCOV
    assert read_coverage(written(tmp_path, text)) == EXPECTED


def test_a_source_of_any_length_is_no_work(tmp_path: Path) -> None:
    """Each reference is a piece of its own, and pieces that were all kept and joined took the square of their number."""
    many = COBERTURA.replace("<source>src</source>", "<source>" + "&#65;" * 20_000 + "</source>")
    (path,) = read_coverage(written(tmp_path, many))
    assert path.endswith("/a.py")
    assert len(path) < 4_100


def test_more_sources_than_one_tell_nothing(tmp_path: Path) -> None:
    many = COBERTURA.replace("<source>src</source>", "<source>src</source> <source>lib</source>\n")
    assert set(read_coverage(written(tmp_path, many))) == {"a.py"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("src/a.py", "src/a.py"),
        ("./src/../src/a.py", "src/a.py"),
        ("/srv/work/7f3c/src/a.py", "src/a.py"),
        ("C:\\work\\src\\a.py", "src/a.py"),
        ("../../src/a.py", "src/a.py"),
        ("/usr/lib/python3/os.py", None),
        ("/usr/lib/python3/dist-packages/src/a.py", None),
        ("/srv/work/node_modules/x/src/a.py", None),
        ("../..", None),
        ("", None),
        ("src/\n.py", None),
    ],
)
def test_a_path_leads_into_the_repository_or_nowhere(name: str, found: str | None) -> None:
    assert within(name, {"src/a.py"}.__contains__) == found


@given(st.lists(reports, max_size=4))
def test_a_line_that_ran_anywhere_has_run(parts: list[dict[str, FileLines]]) -> None:
    whole = join(parts)
    assert whole == join(reversed(parts))
    assert whole == join([whole, *parts])
    for path, found in whole.items():
        assert not found.covered & found.missing
        seen = [part[path] for part in parts if path in part]
        assert found.covered == frozenset().union(*(each.covered for each in seen))
        assert found.covered | found.missing == frozenset().union(
            *(each.covered | each.missing for each in seen)
        )
    covered, total = counted(whole)
    assert 0 <= covered <= total


# -- the diff ----------------------------------------------------------------------------------------------------------


DIFF = b"""\
diff --git a/src/a.py b/src/a.py
index 1..2 100644
--- a/src/a.py
+++ b/src/a.py
@@ -1 +1,2 @@
-old
+new
+++ b/src/not_a_header.py
@@ -9,2 +11,0 @@ def f():
-gone
--- a/src/neither.py
@@ -20,0 +20,3 @@
+a
+@@ -1 +1 @@
+c
diff --git "a/na\\303\\257ve \\"x\\".py" "b/na\\303\\257ve \\"x\\".py"
--- "a/na\\303\\257ve \\"x\\".py"
+++ "b/na\\303\\257ve \\"x\\".py"
@@ -0,0 +7 @@
+x
\\ No newline at end of file
diff --git a/with space.py b/with space.py
--- a/with space.py\t
+++ b/with space.py\t
@@ -3 +3 @@
-x
+y
diff --git a/gone.py b/gone.py
deleted file mode 100644
--- a/gone.py
+++ /dev/null
@@ -1,2 +0,0 @@
-a
-b
diff --git a/logo.png b/logo.png
Binary files a/logo.png and b/logo.png differ
"""


def test_a_diff_is_read_line_by_line_whatever_the_lines_look_like() -> None:
    assert parse_diff(DIFF) == {
        "src/a.py": frozenset({1, 2, 20, 21, 22}),
        'naïve "x".py': frozenset({7}),
        "with space.py": frozenset({3}),
    }
    assert parse_diff(b"") == {}
    assert parse_diff(DIFF.replace(b"\n", b"\r\n"))["src/a.py"] == frozenset({1, 2, 20, 21, 22})


def test_a_name_that_ends_in_a_quote_or_a_backslash_is_whole() -> None:
    def one(name: bytes) -> bytes:
        return b"diff --git x y\n--- /dev/null\n+++ " + name + b"\n@@ -0,0 +1 @@\n+x\n"

    assert list(parse_diff(one(b'"b/a\\""'))) == ['a"']
    assert list(parse_diff(one(b'"b/a\\\\"'))) == ["a\\"]
    assert list(parse_diff(one(b"b/a b\t"))) == ["a b"]


TEXTS = st.lists(
    st.sampled_from(["a", "b", "+++ b/x", "--- a/x", "@@ -1 +1 @@", "diff --git a/x b/x", ""]), max_size=12
)


@given(TEXTS, TEXTS, st.integers(0, 3))
def test_the_lines_are_those_that_difflib_tells(old: list[str], new: list[str], context: int) -> None:
    """Whatever the text looks like, and with as much context as a person's git is told to print."""
    printed = difflib.unified_diff(old, new, "a/f", "b/f", n=context, lineterm="")
    expected = {
        number + 1
        for kind, _, _, first, last in difflib.SequenceMatcher(None, old, new).get_opcodes()
        if kind in ("insert", "replace")
        for number in range(first, last)
    }
    assert parse_diff("\n".join(printed).encode()).get("f", frozenset()) == expected


@given(st.binary(max_size=300))
def test_any_bytes_can_be_a_diff(data: bytes) -> None:
    assert all(line > 0 for found in parse_diff(data + DIFF).values() for line in found) or data


def test_git_that_cannot_tell_is_no_change_that_is_known() -> None:
    def silent(_arguments: Sequence[str]) -> None:
        return None

    assert changed_lines(silent, "a", "b") is None


# -- what is told ------------------------------------------------------------------------------------------------------


def of(**more: object) -> Figures:
    return Figures(**{"covered": 80, "lines": 100, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (of(), "coverage 80.0 % of 100 lines"),
        (of(base=81.5), "coverage 80.0 % of 100 lines (-1.5 points)"),
        (of(changed=0), "coverage 80.0 % of 100 lines; no line that can run has changed"),
        (of(changed=1), "coverage 80.0 % of 100 lines; the changed line is covered"),
        (of(changed=7), "coverage 80.0 % of 100 lines; all 7 changed lines are covered"),
        (
            of(changed=7, uncovered=(("a.py", (3, 4, 5, 9)), ("b.py", (1,)))),
            "coverage 80.0 % of 100 lines; 5 of 7 changed lines are not covered: a.py:3-5, 9; b.py:1",
        ),
        (Figures(covered=0, lines=0), "coverage 0.0 % of 0 lines"),
    ],
)
def test_one_line_says_it(found: Figures, text: str) -> None:
    assert told(found) == text


def test_many_places_are_counted_and_hostile_ones_are_one_line() -> None:
    many = of(changed=99, uncovered=tuple((f"f{n}\n::error::x", (1,)) for n in range(30)))
    text = told(many)
    assert text.endswith("; and 10 more files")
    assert "\n" not in text
    assert ranges(list(range(1, 100, 2))).endswith("23, …")


def test_changed_lines_that_cannot_run_do_not_count() -> None:
    changed = {"src/a.py": frozenset({1, 3, 5}), "README.md": frozenset({1})}
    found = figures(EXPECTED, changed=changed, base=50.0)
    assert (found.changed, found.uncovered, found.changed_percent) == (2, (("src/a.py", (5,)),), 50.0)
    assert figures(EXPECTED, changed={"b.py": frozenset({1})}).changed_percent is None
    assert figures(EXPECTED, changed=None).changed is None


@pytest.mark.parametrize(
    ("minimum", "of_changed", "count"), [(None, None, 0), (75, 50, 0), (76, 50, 1), (75, 51, 1), (99, 99, 2)]
)
def test_a_minimum_is_a_finding_of_its_own(
    minimum: float | None, of_changed: float | None, count: int
) -> None:
    suite = Suite(name="unit", title="unit", coverage_minimum=minimum, coverage_minimum_changed=of_changed)
    found = findings(suite, figures(EXPECTED, changed={"src/a.py": frozenset({4, 5})}))
    assert len(found) == count
    assert all(item.code == "coverage" and item.subject == "unit" for item in found)
    assert findings(suite, figures(EXPECTED, changed={})) == [
        item for item in found if "changed" not in item.text
    ]


def test_a_minimum_of_changed_lines_that_cannot_be_judged_is_a_warning() -> None:
    suite = Suite(name="unit", title="unit", coverage_minimum_changed=90)
    (found,) = findings(suite, figures(EXPECTED, changed=None))
    assert (found.level, found.code) == (Level.WARNING, "coverage")
    assert "fetch-depth: 0" in found.text


def test_the_object_has_what_the_line_says() -> None:
    found = of(base=81.5, changed=7, uncovered=(("a.py", (3, 4, 5, 9)),))
    assert plain(found) == {
        "percent": 80.0,
        "covered": 80,
        "lines": 100,
        "base_percent": 81.5,
        "changed_lines": 7,
        "changed_percent": 42.857,
        "uncovered": {"a.py": [[3, 5], [9, 9]]},
    }
    assert plain(of())["changed_percent"] is None
