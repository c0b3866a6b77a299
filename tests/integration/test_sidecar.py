"""The sidecar plugin tells what pytest does: outcomes, ids, collection, selection, workers, repeated tries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sidecar_kit import PLUGIN, RERUNS, XDIST, run, write

OUTCOMES = """
    import pytest

    def test_pass(record_property):
        record_property("metric.speed", 2.5)
        record_property("not a number", float("nan"))

        class Rude:
            def __str__(self):
                raise SystemError("no text for you")

        record_property("rude", Rude())

    def test_fail():
        print("said before")
        assert 1 == 2

    @pytest.fixture
    def bad_setup():
        raise RuntimeError("no setup")

    @pytest.fixture
    def bad_teardown():
        yield
        raise RuntimeError("no teardown")

    def test_setup(bad_setup): pass

    def test_teardown(bad_teardown): pass

    def test_both(bad_teardown): assert 0, "the body"

    @pytest.mark.skip(reason="not today")
    def test_skip(): pass

    def test_skip_inside(): pytest.skip("too late")

    @pytest.mark.xfail(reason="known")
    def test_xfail(): assert 0

    @pytest.mark.xfail(reason="known")
    def test_xpass(): pass

    @pytest.mark.xfail(strict=True, reason="known")
    def test_xpass_strict(): pass

    @pytest.mark.xfail(reason="known")
    def test_xfail_teardown(bad_teardown): assert 0

    class Rude(Exception):
        def __str__(self): raise ValueError("rude")

    def test_rude(): raise Rude

    def test_huge(): raise ValueError("y\\n" * 2_000_000)
"""


def test_each_outcome_has_its_word(tmp_path: Path) -> None:
    """Passed, failed, errored in setup or teardown, skipped, xfailed, xpassed."""
    write(tmp_path, OUTCOMES)
    ran = run(tmp_path)
    assert ran.code == 1, ran.output
    assert ran.outcomes == [
        ("test_pass", "passed"),
        ("test_fail", "failed"),
        ("test_setup", "errored"),
        ("test_teardown", "errored"),
        ("test_both", "failed"),
        ("test_skip", "skipped"),
        ("test_skip_inside", "skipped"),
        ("test_xfail", "xfailed"),
        ("test_xpass", "xpassed"),
        ("test_xpass_strict", "failed"),
        ("test_xfail_teardown", "xfailed"),
        ("test_rude", "failed"),
        ("test_huge", "failed"),
    ]
    assert ran.log.collected == tuple(end.id for end in ran.log.ended)
    assert (ran.log.running, ran.log.exit_status, ran.log.bad_lines) == ((), 1, 0)
    properties = ran.end("test_pass").properties
    assert properties[:2] == (("metric.speed", 2.5), ("not a number", "nan"))
    assert "cannot be shown: SystemError" in str(properties[2][1])
    failed = ran.end("test_fail")
    assert (failed.file, failed.line, failed.message) == ("test_it.py", 16, "assert 1 == 2")
    assert "said before" in (failed.output or "")
    assert "test_it.py:16: AssertionError" in (failed.details or "")
    assert set(failed.phases) == {"setup", "call", "teardown"}
    assert failed.duration == pytest.approx(sum(failed.phases.values()), abs=1e-5)
    assert ran.end("test_setup").message == "RuntimeError: no setup"
    assert set(ran.end("test_setup").phases) == {"setup", "teardown"}
    assert ran.end("test_both").message == "AssertionError: the body assert 0"
    assert "RuntimeError: no teardown" in (ran.end("test_both").details or "")
    assert ran.end("test_skip").message == "not today"
    assert ran.end("test_skip_inside").message == "too late"
    assert ran.end("test_xfail").message == "known"
    assert "XPASS(strict)" in (ran.end("test_xpass_strict").message or "")
    huge = ran.end("test_huge")
    assert len(huge.message or "") <= 500
    assert "characters left out" in (huge.details or "")


def test_ids_are_pytests_own(tmp_path: Path) -> None:
    """Newlines, unicode, halves of characters, brackets, colons: whatever an id holds, start and end agree."""
    write(
        tmp_path,
        r"""
        import pytest

        @pytest.mark.parametrize("x", ["a\nb", "ü", "\udc80", "::error::", "[", "", "😀", "a" * 300], ids=str)
        def test_p(x): pass
        """,
    )
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\ndisable_test_id_escaping_and_forfeit_all_rights_to_community_support = true\n"
    )
    ran = run(tmp_path)
    assert ran.code == 0, ran.output
    names = [name for name, outcome in ran.outcomes if outcome == "passed"]
    assert ran.log.collected == tuple(f"test_it.py::{name}" for name in names)
    assert len(set(names)) == 8
    assert {"test_p[ü]", "test_p[😀]", "test_p[::error::]", "test_p[[]"} <= set(names)
    assert any("\n" in name or "\\n" in name for name in names)
    assert ran.log.running == ()
    for end in ran.log.ended:
        end.id.encode("utf-8")


def test_unittest_classes(tmp_path: Path) -> None:
    """TestCase methods, expected failures and successes that nobody expected, and a class that cannot be set up."""
    write(
        tmp_path,
        """
        import unittest

        class Plain(unittest.TestCase):
            def test_ok(self): pass
            def test_bad(self): self.assertEqual(1, 2)
            @unittest.expectedFailure
            def test_expected(self): self.fail("as known")
            @unittest.expectedFailure
            def test_unexpected(self): pass
            @unittest.skip("not here")
            def test_skip(self): pass

        class Broken(unittest.TestCase):
            @classmethod
            def setUpClass(cls): raise RuntimeError("no class")
            def test_one(self): pass
            def test_two(self): pass

        class Late(unittest.TestCase):
            @classmethod
            def tearDownClass(cls): raise RuntimeError("no end")
            def test_last(self): pass
        """,
    )
    ran = run(tmp_path)
    assert dict(ran.outcomes) == {
        "Plain::test_ok": "passed",
        "Plain::test_bad": "failed",
        "Plain::test_expected": "xfailed",
        "Plain::test_unexpected": "failed",
        "Plain::test_skip": "skipped",
        "Broken::test_one": "errored",
        "Broken::test_two": "errored",
        "Late::test_last": "errored",
    }
    assert len(ran.outcomes) == 8
    assert ran.end("Broken::test_two").message == "RuntimeError: no class"


def test_subtests(tmp_path: Path) -> None:
    """Each subtest has a word, and one that fails makes its test fail; of many that pass only some are kept."""
    write(
        tmp_path,
        """
        import unittest

        def test_fixture(subtests):
            for i in range(3):
                with subtests.test("number", i=i):
                    assert i != 1

        def test_green(subtests):
            for i in range(300):
                with subtests.test(i=i):
                    pass

        class Case(unittest.TestCase):
            def test_sub(self):
                for i in range(3):
                    with self.subTest(i=i):
                        self.assertNotEqual(i, 2)
        """,
    )
    ran = run(tmp_path)
    assert ran.outcomes == [
        ("test_fixture", "failed"),
        ("test_green", "passed"),
        ("Case::test_sub", "failed"),
    ]
    told = ran.end("test_fixture").subtests
    assert [item["outcome"] for item in told] == ["passed", "failed", "passed"]
    assert told[1]["description"] == "[number] i=1"
    assert "assert 1 != 1" in told[1]["message"]
    assert len(ran.end("test_green").subtests) == 100
    assert [item for item in ran.end("Case::test_sub").subtests if item["outcome"] == "failed"]


def test_collection_errors_and_files_that_skip_themselves(tmp_path: Path) -> None:
    """A file that cannot be collected is told, with the reason; the others' tests are still listed."""
    write(tmp_path, "import nothing_like_this", "test_broken.py")
    write(tmp_path, "import pytest; pytest.skip('other system', allow_module_level=True)", "test_skipped.py")
    write(tmp_path, "def test_ok(): pass")
    ran = run(tmp_path)
    assert ran.code == 2
    assert ran.log.collected == ("test_it.py::test_ok",)
    assert ran.log.collection_errors == ("test_broken.py",)
    assert ran.outcomes == [("test_broken.py", "errored"), ("test_skipped.py", "skipped")]
    assert all(end.collector for end in ran.log.ended)
    assert "nothing_like_this" in (ran.end("test_broken.py").message or "")
    assert ran.end("test_skipped.py").message == "other system"
    assert ran.missing == {"test_ok"}
    (tmp_path / "sidecar.jsonl").unlink()
    ran = run(tmp_path, *XDIST, "-n", "2")
    assert ran.log.collection_errors == ("test_broken.py",)
    told = [(end.id, end.outcome) for end in ran.log.ended if end.collector]
    assert sorted(told) == [("test_broken.py", "errored"), ("test_skipped.py", "skipped")]


@pytest.mark.parametrize("stop", ["-x", "--maxfail=2"])
def test_what_never_ran_is_missing(tmp_path: Path, stop: str) -> None:
    """Stopping early leaves the rest without a start."""
    write(
        tmp_path, "def test_a(): assert 0\ndef test_b(): assert 0\ndef test_c(): pass\ndef test_d(): pass\n"
    )
    ran = run(tmp_path, stop)
    assert ran.missing == ({"test_b", "test_c", "test_d"} if stop == "-x" else {"test_c", "test_d"})
    assert ran.log.running == ()


def test_setup_alone_is_no_pass(tmp_path: Path) -> None:
    """A test whose body was not run did not pass."""
    write(tmp_path, "def test_a(tmp_path): assert 0")
    ran = run(tmp_path, "--setup-only")
    assert ran.code == 0
    assert ran.outcomes == [("test_a", "skipped")]


def test_repeated_tries(tmp_path: Path) -> None:
    """A try that is repeated ends as `rerun`; the last one has the outcome."""
    write(
        tmp_path,
        """
        import pytest
        tries = []

        def test_flaky():
            tries.append(1)
            assert len(tries) == 3, f"try {len(tries)}"

        @pytest.fixture
        def flaky_setup():
            tries.append(1)
            assert len(tries) == 5

        def test_setup(flaky_setup): pass
        def test_bad(): assert 0
        def test_ok(): pass
        """,
    )
    ran = run(tmp_path, *RERUNS, "--reruns", "2")
    assert ran.outcomes == [
        *[("test_flaky", "rerun")] * 2,
        ("test_flaky", "passed"),
        ("test_setup", "rerun"),
        ("test_setup", "passed"),
        *[("test_bad", "rerun")] * 2,
        ("test_bad", "failed"),
        ("test_ok", "passed"),
    ]
    assert ran.log.ended[0].message == "AssertionError: try 1 assert 1 == 3 +  where 1 = len([1])"
    assert ran.log.running == ()


def test_selection(tmp_path: Path) -> None:
    """What was asked for runs, whole classes and parametrized tests too; unknown names are told."""
    write(
        tmp_path,
        """
        import pytest

        @pytest.mark.parametrize("x", ["1", "a::b", "[c]"])
        def test_p(x): pass

        class TestGroup:
            def test_one(self): pass
            @pytest.mark.parametrize("x", [1, 2])
            def test_two(self, x): pass

        def test_p_longer(): pass
        """,
    )
    write(tmp_path, "def test_other(): pass", "test_whole.py")
    wanted = [
        "test_it.py::test_p",
        "test_it.py::TestGroup::test_two[2]",
        "test_whole.py",
        "test_it.py::test_gone",
    ]
    (tmp_path / "select.json").write_text(json.dumps(wanted))
    select = {"CI_RUNNER_SELECT": str(tmp_path / "select.json")}
    expected = {"test_p[1]", "test_p[a::b]", "test_p[[c]]", "TestGroup::test_two[2]", "test_other"}
    ran = run(tmp_path, env=select)
    assert {name for name, _ in ran.outcomes} == expected
    assert (ran.log.deselected, ran.log.unknown) == (3, ("test_it.py::test_gone",))
    (tmp_path / "sidecar.jsonl").unlink()
    ran = run(tmp_path, *XDIST, "-n", "2", env=select)
    assert sorted(name for name, _ in ran.outcomes) == sorted(expected)
    assert (ran.log.deselected, ran.log.unknown) == (3, ("test_it.py::test_gone",))


def test_a_selection_that_cannot_be_read_stops_the_run(tmp_path: Path) -> None:
    """Nothing runs rather than everything; the same where the sidecar cannot be written."""
    write(tmp_path, "def test_a(): pass")
    (tmp_path / "select.json").write_text("{")
    ran = run(tmp_path, env={"CI_RUNNER_SELECT": str(tmp_path / "select.json")})
    assert ran.code == 4
    assert "select.json cannot be read" in ran.output
    ran = run(tmp_path, env={"CI_RUNNER_SIDECAR": str(tmp_path / "no" / "folder")})
    assert ran.code == 4
    assert "cannot be written" in ran.output


def test_workers(tmp_path: Path) -> None:
    """Each worker tells of its own tests; groups of xdist are no part of an id."""
    write(
        tmp_path,
        """
        import pytest

        @pytest.mark.parametrize("x", range(20))
        def test_p(x): assert x != 7

        @pytest.mark.xdist_group("g")
        def test_grouped(): pass
        """,
    )
    ran = run(tmp_path, *XDIST, "-n", "2", "--dist", "loadgroup")
    assert ran.code == 1, ran.output
    names = [f"test_p[{x}]" for x in range(20)]
    assert ran.log.collected == tuple(f"test_it.py::{name}" for name in (*names, "test_grouped"))
    assert sorted(end.id for end in ran.log.ended) == sorted(ran.log.collected)
    assert [name for name, outcome in ran.outcomes if outcome != "passed"] == ["test_p[7]"]
    assert {end.worker for end in ran.log.ended} == {"gw0", "gw1"}
    assert {entry.get("worker") for entry in ran.log.sessions} == {None, "gw0", "gw1"}
    assert ran.log.exit_status == 1


def test_a_worker_that_dies(tmp_path: Path) -> None:
    """The test that ended its worker failed; no other test is lost or told twice."""
    write(
        tmp_path,
        """
        import os, pytest

        @pytest.mark.parametrize("x", range(30))
        def test_p(x):
            if x in (5, 11):
                os._exit(3)
        """,
    )
    ran = run(tmp_path, *XDIST, "-n", "2")
    assert ran.code == 1, ran.output
    assert sorted(end.id for end in ran.log.ended) == sorted(ran.log.collected or ())
    assert {name for name, outcome in ran.outcomes if outcome != "passed"} == {"test_p[5]", "test_p[11]"}
    crashed = ran.end("test_p[5]")
    assert crashed.outcome == "failed"
    assert "crashed while running" in (crashed.message or "")
    assert crashed.worker in {"gw0", "gw1", "gw2", "gw3"}
    assert ran.log.running == ()


def test_no_trace_is_left(tmp_path: Path) -> None:
    """Conftests and tests, and what they start, see neither our variables nor our folder, in workers too."""
    check = """
        import os, sys

        def look():
            assert not [name for name in os.environ if name.startswith("CI_RUNNER_")]
            assert os.environ.get("PYTHONPATH") == "/somewhere/else"
            assert not [path for path in sys.path if path.endswith("onboard/plugin")]

        look()
    """
    write(tmp_path, check, "conftest.py")
    write(
        tmp_path,
        """
        import pytest
        from conftest import look

        def test_none(): look()

        def test_inner(tmp_path):
            (tmp_path / "test_inner.py").write_text("def test_a(): pass")
            assert pytest.main(["-q", str(tmp_path), "-p", "ci_runner_sidecar"]) == 0
        """,
    )
    for arguments in ((), (*XDIST, "-n", "2")):
        env = {"PYTHONPATH": f"{PLUGIN}:/somewhere/else"}
        ran = run(tmp_path, *arguments, env=env)
        assert ran.code == 0, ran.output
        assert sorted(ran.outcomes) == [("test_inner", "passed"), ("test_none", "passed")]
        (tmp_path / "sidecar.jsonl").unlink()


def test_without_its_variable_the_plugin_is_silent(tmp_path: Path) -> None:
    """Loaded by mistake it does nothing."""
    write(tmp_path, "def test_a(): pass")
    assert run(tmp_path, env={"CI_RUNNER_SIDECAR": ""}).code == 0
    assert not (tmp_path / "sidecar.jsonl").exists()


def test_a_plugin_that_breaks_pytest_is_visible(tmp_path: Path) -> None:
    """pytest's INTERNALERROR is exit status 3, and the test that it hit has no end."""
    write(
        tmp_path,
        """
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_logreport(report):
            if report.nodeid.endswith("test_b"):
                raise RuntimeError("broken plugin")
        """,
        "conftest.py",
    )
    write(tmp_path, "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass\n")
    ran = run(tmp_path)
    assert ran.code == 3
    assert "INTERNALERROR" in ran.output
    assert ran.outcomes == [("test_a", "passed")]
    assert ran.log.running == ("test_it.py::test_b",)
    assert ran.missing == {"test_b", "test_c"}
    assert ran.log.exit_status == 3


def test_the_last_word_on_the_status_counts(tmp_path: Path) -> None:
    """A plugin that turns the status red at the end of the session is heard."""
    write(tmp_path, "def pytest_sessionfinish(session): session.exitstatus = 7", "conftest.py")
    write(tmp_path, "def test_a(): pass")
    ran = run(tmp_path)
    assert (ran.code, ran.log.exit_status) == (7, 7)
