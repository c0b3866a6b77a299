"""Files that are cut off, scrambled, huge or malicious: never an invented case, never a quiet green, bounded memory."""

from __future__ import annotations

import encodings.aliases
import functools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_runner.model import Outcome
from ci_runner.results import junit_pass
from ci_runner.results.junit import JunitContent, read_junit
from ci_runner.results.seen import Seen
from ci_runner.results.verdict import verdict_of
from ci_runner.results.xml_bytes import PIECE, clean, encoding_of

SMALL = """<?xml version="1.0" encoding="utf-8"?>
<!-- a comment --><testsuites><testsuite name="s" tests="4" failures="1" skipped="1">
<properties><property name="metric.x" value="1"/></properties>
<testcase classname="c" name="eins ü" time="0.1"/>
<testcase classname="c" name="two"><failure message="m &amp; &#10; m">text <![CDATA[<raw>]]></failure></testcase>
<testcase classname="c" name="three"><system-out>out</system-out></testcase>
<testcase classname="c" name="four"><skipped/></testcase>
</testsuite></testsuites>""".encode()
ENDS = [SMALL.index(b'time="0.1"/>') + len(b'time="0.1"/>')]
for _ in range(3):
    ENDS.append(SMALL.index(b"</testcase>", ENDS[-1]) + len(b"</testcase>"))
IDS = ("c::eins ü", "c::two", "c::three", "c::four")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path to write to, again and again."""
    return tmp_path_factory.mktemp("junit") / "file.xml"


def read(file: Path, data: bytes, *, keep_passed: bool = True) -> JunitContent:
    """What these bytes are read as."""
    file.write_bytes(data)
    return read_junit(file, keep_passed=keep_passed)


def fatal(content: JunitContent) -> list[str]:
    """The kinds of its fatal problems."""
    return [problem.kind for problem in content.problems if problem.fatal]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
def test_a_file_cut_off_at_any_byte_keeps_what_was_complete(file: Path, encoding: str) -> None:
    whole = SMALL.decode()
    if encoding != "utf-8":
        whole = whole.replace(' encoding="utf-8"', "" if encoding == "utf-16-le" else ' encoding="utf-16"')
    data = whole.encode(encoding)
    assert not read(file, data).problems
    ends = []
    for number in ENDS:
        upto = len(SMALL[:number].decode()) - (len(SMALL.decode()) - len(whole))
        ends.append(len(whole[:upto].encode(encoding)))
    for cut in range(len(data)):
        content = read(file, data[:cut])
        assert fatal(content), f"cut at {cut} goes unnoticed"
        complete = sum(end <= cut for end in ends)
        found = [case.id for case in content.cases]
        if complete == 1 and len(found) == 2:
            complete = 2  # it has not ended, and is known to be red
            assert content.cases[1].outcome is Outcome.FAILED
        assert found == list(IDS[:complete])
        assert content.counts.tests == len(found)


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_scrambled_file_is_read_without_a_crash(file: Path, changes: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for at, byte in changes:
        data[at] = byte
    content = read(file, bytes(data))
    assert content.counts.tests == len(content.cases) <= 5


@given(st.binary(max_size=300))
def test_what_is_no_report_is_never_green(file: Path, data: bytes) -> None:
    content = read(file, data)
    assert verdict_of(content.counts, content.problems).value != "passed"


@pytest.mark.parametrize(
    "name", sorted(set(encodings.aliases.aliases.values()) | {"undefined", "idna", "x y"})
)
def test_no_declared_encoding_breaks_the_reader(file: Path, name: str) -> None:
    head = f'<?xml version="1.0" encoding="{name}"?>'.encode()
    content = read(file, head + b'<testsuite tests="1"><testcase name="a\xff"/></testsuite>')
    assert content.counts.tests == 1 or fatal(content)


@pytest.mark.parametrize("size", range(PIECE - 40, PIECE + 8, 4))
def test_references_at_the_seams_of_pieces_are_cleaned(file: Path, size: int) -> None:
    head = b'\x01<testsuite tests="1"><testcase name="a"><failure message="m">'
    body = b"x" * (size - len(head)) + b"&#x1b;&amp;&#65;&" + b"y" * PIECE
    content = read(file, head + body + b"</failure></testcase></testsuite>")
    assert [problem.kind for problem in content.problems] == ["junk"] or not fatal(content)
    assert content.counts.failed == 1


def test_a_second_document_at_any_distance_from_the_seam_is_read(file: Path) -> None:
    one, two = (
        b'<testsuite tests="1"><testcase name="a"/></testsuite>',
        b'<testsuite tests="1"><testcase name="b"/>',
    )
    for pad in range(PIECE - len(one) - 12, PIECE - len(one) + 3):
        content = read(file, one + b"\n" * pad + two + b"</testsuite>")
        assert (content.counts.passed, content.problems) == (2, ()), pad
        broken = read(file, one + b"\n" * pad + two)
        assert fatal(broken) == ["truncated"]
        assert broken.problems[0].line == pad + 1


def test_lines_are_those_of_the_file_behind_junk_too(file: Path) -> None:
    content = read(file, b'log\nlog\n<testsuite name="s"\n tests="2">\n<testcase name="a"/></testsuite>')
    assert [(problem.kind, problem.line) for problem in content.problems] == [
        ("junk", 1),
        ("lying-attribute", 3),
    ]


def _big(pieces: int) -> Iterator[bytes]:
    yield b'<testsuite name="s" tests="2" failures="1"><testcase name="a"><failure message="m">'
    for _ in range(pieces):
        yield b"0123456789abcde\n" * 4096
    yield b"the end</failure><system-out>"
    yield b"o" * (1 << 20)
    yield b'</system-out></testcase><testcase name="b"/></testsuite>'


@pytest.mark.parametrize("dirty", [False, True])
def test_a_text_of_50_megabytes_keeps_its_beginning_and_end_in_little_memory(file: Path, dirty: bool) -> None:
    with file.open("wb") as out:
        out.writelines(_big(800))
        if dirty:
            out.write(b"<!-- \x01 -->")
    tracemalloc.start()
    try:
        content = read_junit(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert content.counts.failed == content.counts.passed == 1
    assert [problem.kind for problem in content.problems] == ["encoding"] * dirty
    (case,) = content.cases
    assert case.details is not None
    assert case.details.startswith("0123456789abcde\n")
    assert case.details.endswith("the end")
    assert "characters left out" in case.details
    assert len(case.details) < 70_000
    assert case.output is not None
    assert len(case.output) < 20_000
    assert peak < 12_000_000
    file.write_bytes(b"")


def test_many_cases_stay_exact_when_keys_no_longer_fit(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit_pass, "Seen", functools.partial(Seen, 1000, 1 << 20))
    names = [f"t{number}" for number in range(5000)] + ["t7", "t4999"]
    cases = "".join(f'<testcase name="{name}"/>' for name in names)
    content = read(file, f'<testsuite tests="{len(names)}">{cases}</testsuite>'.encode(), keep_passed=False)
    assert content.counts.passed == len(names)
    assert not content.problems
    full = read_junit(file, keep_passed=True)
    assert [case.id for case in full.cases[-2:]] == ["t7 [2]", "t4999 [2]"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=80), st.integers(1, 20))
def test_a_key_that_was_seen_is_never_called_new(keys: list[int], limit: int) -> None:
    seen, truth = Seen(limit, 1 << 16), set()
    for key in keys:
        said = seen.add(key)
        assert said or key not in truth
        truth.add(key)
        seen.make_room()
    assert seen.full == (len(truth) >= limit)
    assert all(seen.add(key) for key in keys)


@given(st.text(max_size=60))
def test_cleaning_leaves_what_xml_allows(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    allowed = text.isprintable() and "&" not in text
    assert not allowed or cleaned == text


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"<a/>", ("utf-8", 0)),
        (b"", ("utf-8", 0)),
        (b"\xef\xbb\xbf<a/>", ("utf-8", 3)),
        (b"\xff\xfe<\0", ("utf-16-le", 2)),
        (b"\xff\xfe\0\0<\0\0\0", ("utf-32-le", 4)),
        (b"\0<", ("utf-16-be", 0)),
        (b'<?xml version="1.0" encoding="latin-1"?>', ("latin-1", 0)),
        (b'<?xml version="1.0" encoding="utf-16"?>', ("utf-8", 0)),
        (b'<?xml version="1.0" encoding="hex"?>', ("utf-8", 0)),
        (b'<?xml version="1.0" encoding="idna"?>', ("utf-8", 0)),
    ],
)
def test_the_encoding_is_what_the_first_bytes_can_mean(head: bytes, found: tuple[str, int]) -> None:
    assert encoding_of(head) == found


def test_a_folder_in_place_of_a_file_is_a_problem(tmp_path: Path) -> None:
    content = read_junit(tmp_path)
    assert [problem.kind for problem in content.problems] == ["unreadable"]
