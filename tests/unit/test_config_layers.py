"""Which source wins, where each value comes from, and what variables mean."""

from __future__ import annotations

import tomllib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_runner.config.layers import Layers, leaves
from ci_runner.config.lines import key_lines
from ci_runner.config.load import load_settings
from ci_runner.config.places import NOT_SETTINGS, find_team_file, personal_file, top_of
from ci_runner.config.settings import Origin, Settings
from ci_runner.config.shape import below, keys_at
from ci_runner.config.tables import RootTable, SuiteTable
from ci_runner.errors import ConfigurationError

UNIT = '[suites.unit]\ntests = ["tests"]\n'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def place(settings: Settings, key: str) -> tuple[str, str, int | None]:
    origin = settings.origins[key]
    return origin.kind, Path(origin.name).name, origin.line


def with_variables(folder: Path, text: str = UNIT, **environ: str) -> Settings:
    write(folder / "ci-runner.toml", text)
    return load_settings(folder, environ={f"CI_RUNNER_{name}": value for name, value in environ.items()})


def refused(folder: Path, text: str = UNIT, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        with_variables(folder, text, **environ)
    return list(caught.value.problems)


# -- precedence

PRECEDENCE = [
    # value of each source, from the weakest; None: it says nothing
    (["1", "2", "3", "4", "5"], 5, "flag"),
    (["1", "2", "3", "4", None], 4, "environment"),
    (["1", "2", "3", None, None], 3, "ci-runner.local.toml"),
    (["1", "2", None, None, None], 2, "config.toml"),
    (["1", None, None, None, None], 1, "ci-runner.toml"),
    ([None, None, None, None, None], 20, "default"),
    (["1", None, None, "4", None], 4, "environment"),
]


@pytest.mark.parametrize(("sources", "value", "winner"), PRECEDENCE)
def test_the_later_source_wins(sources: list[str | None], value: int, winner: str, tmp_path: Path) -> None:
    home, root = tmp_path / "home", tmp_path / "root"
    files = (
        root / "ci-runner.toml",
        home / ".config" / "ci-runner" / "config.toml",
        root / "ci-runner.local.toml",
    )
    root.mkdir()
    for path, said in zip(files, sources, strict=False):
        if said is not None:
            write(path, f"# a comment\n[project]\nretry-limit = {said}\n")
    environ = {"HOME": str(home)} | ({"CI_RUNNER_RETRY_LIMIT": sources[3]} if sources[3] else {})
    flags = {"project.retry-limit": sources[4]} if sources[4] else None
    settings = load_settings(root, environ=environ, flags=flags)
    assert settings.retry_limit == value
    kind, name, line = place(settings, "project.retry-limit")
    if winner.endswith(".toml"):
        assert (kind, name, line) == ("file", winner, 3)
    else:
        assert (kind, line) == (winner, None)
    assert settings.fetched_from == tuple(
        str(path) for path, said in zip(files, sources, strict=False) if said
    )


def test_tables_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    write(
        tmp_path / "ci-runner.toml",
        '[suites.unit]\ntests = ["tests/a", "tests/b"]\nenv = { A = "1", B = "1" }\ntimeout = "1m"\n',
    )
    write(
        tmp_path / "ci-runner.local.toml",
        '[suites.unit]\ntests = ["tests/c"]\nenv.B = "2"\n[suites.mine]\ntests = ["mine"]\n',
    )
    settings = load_settings(tmp_path, environ={})
    unit = settings.suites["unit"]
    assert (unit.tests, unit.env, unit.timeout_seconds) == (("tests/c",), {"A": "1", "B": "2"}, 60.0)
    assert list(settings.suites) == ["unit", "mine"]
    assert place(settings, "suites.unit.tests") == ("file", "ci-runner.local.toml", 2)
    assert place(settings, "suites.unit.env.A") == ("file", "ci-runner.toml", 3)
    assert place(settings, "suites.unit.env.B") == ("file", "ci-runner.local.toml", 3)
    assert place(settings, "suites.unit.timeout") == ("file", "ci-runner.toml", 4)


def test_nothing_of_a_replaced_list_keeps_an_origin(tmp_path: Path) -> None:
    entry = '[[quarantine]]\ntest = "{0}"\nowner = "x"\nexpires = 2027-01-01\n'
    write(tmp_path / "ci-runner.toml", entry.format("a") + 'reason = "r"\n' + entry.format("b"))
    write(tmp_path / "ci-runner.local.toml", entry.format("c"))
    settings = load_settings(tmp_path, environ={})
    assert [item.test for item in settings.quarantine] == ["c"]
    kept = {key for key in settings.origins if key.startswith("quarantine")}
    assert kept == {"quarantine.0.test", "quarantine.0.owner", "quarantine.0.expires"}
    assert all(Path(settings.origins[key].name).name == "ci-runner.local.toml" for key in kept)


def test_a_problem_is_placed_in_the_layer_that_has_it(tmp_path: Path) -> None:
    write(tmp_path / "ci-runner.toml", '[suites.unit]\ntests = [\n  "tests",\n]\n')
    local = write(tmp_path / "ci-runner.local.toml", '\n[suites.unit]\ntests = ["a",\n "/b"]\n')
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path, environ={"CI_RUNNER_SUITES__UNIT__RISK": "none"})
    assert [line.rpartition(" ")[2] for line in caught.value.problems] == [
        f"({local}:4)",
        "(CI_RUNNER_SUITES__UNIT__RISK)",
    ]


# -- where the files are


def test_the_team_file_is_looked_for_upwards_to_the_top_of_the_repository(tmp_path: Path) -> None:
    inner = tmp_path / "repository" / "a" / "b"
    inner.mkdir(parents=True)
    team = write(tmp_path / "repository" / "ci-runner.toml", UNIT)
    assert find_team_file(inner) == team
    assert load_settings(inner, environ={}).root == team.parent
    team.unlink()
    write(tmp_path / "ci-runner.toml", UNIT)
    assert find_team_file(inner) == tmp_path / "ci-runner.toml"
    (tmp_path / "repository" / ".git").mkdir()
    assert find_team_file(inner) is None
    assert top_of(inner) == tmp_path / "repository"
    assert load_settings(inner, environ={}).root == tmp_path / "repository"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/h"}, "/h/.config/ci-runner/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}, "/x/ci-runner/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "x"}, "/h/.config/ci-runner/config.toml"),
        ({"HOME": "h"}, None),
        ({}, None),
    ],
)
def test_the_personal_file(environ: dict[str, str], expected: str | None) -> None:
    found = personal_file(environ)
    assert (str(found) if found is not None else None) == expected


# -- lines

LINES = """\
# a comment with a key = 1
top = 1
dotted.key.name = 2
"quoted key" = 3
'literal."key"' = 4
"\\u0065scaped" = 5
inline = { a = 1, b.c = 2, "d e" = [1, 2] }
array = [ # a comment with ]
  1, # one
  [2, 3],

  { x = "]", y = 4 },
]
text = \"\"\"
not.a.key = 1
[not.a.table]
\\\"\"\" still inside \"\"\"\"
literal = '''
neither = 1 \\'''
day = 2027-01-31 07:32:00
after = "a # b [ ]"

[table.'with.dot'."and ]"]
key = 1
[[list]]
name = "a"
[list.inner]
deep = 1
[[list.inner.more]]
x = 1
[[list]] # the second
name = "b"
[[list.inner]]
deep = 2
[[list.inner]]
deep = 3
"""
EXPECTED = {
    "top": 2, "dotted": 3, "dotted.key": 3, "dotted.key.name": 3, "quoted key": 4, 'literal."key"': 5, "escaped": 6,
    "inline": 7, "inline.a": 7, "inline.b": 7, "inline.b.c": 7, "inline.d e": 7, "inline.d e.0": 7, "inline.d e.1": 7,
    "array": 8, "array.0": 9, "array.1": 10, "array.1.0": 10, "array.1.1": 10, "array.2": 12, "array.2.x": 12,
    "array.2.y": 12, "text": 14, "literal": 18, "day": 20, "after": 21,
    "table": 23, "table.with.dot": 23, "table.with.dot.and ]": 23, "table.with.dot.and ].key": 24,
    "list": 25, "list.0": 25, "list.0.name": 26, "list.0.inner": 27, "list.0.inner.deep": 28,
    "list.0.inner.more": 29, "list.0.inner.more.0": 29, "list.0.inner.more.0.x": 30,
    "list.1": 31, "list.1.name": 32, "list.1.inner": 33, "list.1.inner.0": 33, "list.1.inner.0.deep": 34,
    "list.1.inner.1": 35, "list.1.inner.1.deep": 36,
}  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_key_has_its_line(end: str) -> None:
    tomllib.loads(LINES)
    assert key_lines(LINES.replace("\n", end)) == EXPECTED


def test_what_python_takes_for_a_line_end_is_none_in_toml() -> None:
    assert key_lines("# a\u2028b\x85c\na = 1\n") == {"a": 2}


KEYS = st.one_of(
    st.text("abcXYZ019_-", min_size=1, max_size=4),
    st.text(st.characters(codec="utf-8", exclude_characters="."), max_size=4),
)
LEAF = st.one_of(
    st.integers(-9, 9), st.booleans(), st.text(max_size=6), st.lists(st.text(max_size=3), max_size=3)
)
TABLES = st.dictionaries(KEYS, LEAF, max_size=4)


def written_key(key: str, plain: bool) -> str:
    if plain and key and all(char.isascii() and (char.isalnum() or char in "_-") for char in key):
        return key
    return '"' + "".join(f"\\U{ord(char):08x}" for char in key) + '"'


def written(value: object, spread: bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        body = "".join(f"\\U{ord(char):08x}" for char in value)
        return f'"""\n[a]\nb = 1\n{body}"""' if spread else f'"{body}"'
    if isinstance(value, list):
        gap = " # ]\n" if spread else " "
        return "[" + gap + f",{gap}".join(written(item, spread) for item in value) + gap + "]"
    return str(value)


@settings(deadline=None)
@given(tables=st.dictionaries(KEYS, TABLES, max_size=3), choices=st.randoms(use_true_random=False))
def test_the_lines_of_generated_files_are_right(
    tables: dict[str, dict[str, object]], choices: Random
) -> None:
    rnd = choices.random
    text, expected = "", {}
    for name, table in tables.items():
        text += "\n" if rnd() < 0.3 else "# a = 1\n"
        expected[name] = text.count("\n") + 1
        several = rnd() < 0.3
        text += (
            f"[[{written_key(name, True)}]]\n" if several else f"[ {written_key(name, rnd() < 0.5)} ] # x\n"
        )
        path = f"{name}.0" if several else name
        for key, value in table.items():
            expected[f"{path}.{key}"] = text.count("\n") + 1
            text += f"{written_key(key, rnd() < 0.8)} = {written(value, rnd() < 0.5)}\n"
    data = tomllib.loads(text)
    lines = key_lines(text)
    assert {key: lines[key] for key in expected} == expected
    assert {key for key, _value in leaves(data)} <= set(lines)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["[", "]", "[[", "=", ".", ",", "{", "}", "#", '"', "'", '"""', "'''", "\n", "\\", "a", " "]
        )
    )
    .map("".join)
    .flatmap(lambda text: st.just(text) | st.text().map(lambda more: text + more))
)
def test_no_text_makes_the_search_for_lines_fail(text: str) -> None:
    lines = key_lines(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@pytest.mark.parametrize(
    "broken",
    ["b", "b =", "b = ,", "b = [1 2]", "b = {c = 1 d = 2}", "b = 'c", '"\\q" = 1', "[b", "[[b]", "= 1", "[]"],
)
def test_what_stands_before_a_fault_has_its_line(broken: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(broken)
    assert key_lines(f"a = 1\n{broken}\n")["a"] == 1


def test_nesting_without_end_ends_the_search_for_lines() -> None:
    assert key_lines("a = 1\nb = " + "[" * 100_000)["a"] == 1


# -- variables


def test_a_variable_with_one_word_is_a_key_of_the_project(tmp_path: Path) -> None:
    settings = with_variables(
        tmp_path,
        RETRY_LIMIT="7",
        FALLBACK_RISKS="low, high",
        IGNORED_PATHS="",
        LOG_LIMIT="1MB",
        NAME="n",
        PHASE="2B",
    )
    assert (settings.retry_limit, settings.name, settings.phase) == (7, "n", "2B")
    assert [risk.value for risk in settings.fallback_risks] == ["low", "high"]
    assert (settings.ignored_paths, settings.log_limit_bytes) == ((), 1_000_000)
    assert settings.origins["project.retry-limit"] == Origin(kind="environment", name="CI_RUNNER_RETRY_LIMIT")
    assert settings.values["project.retry-limit"] == "7"


def test_words_between_two_underscores_lead_into_tables(tmp_path: Path) -> None:
    text = '[suites.docs_test]\ntests = ["tests"]\n[suites.a-b]\nextends = "docs_test"\n'
    settings = with_variables(
        tmp_path,
        text,
        SUITES__DOCS_TEST__TIMEOUT="90",
        SUITES__DOCS_TEST__ALLOW_EMPTY="yes",
        SUITES__DOCS_TEST__WHEN__LABELS="a,b",
        SUITES__DOCS_TEST__WHEN__SCHEDULE="0 2 * * 1,3, 0 3 * * *",
        SUITES__DOCS_TEST__NEEDS__CPUS="1.5",
        SUITES__DOCS_TEST__ENV__MY_Var="x",
        SUITES__DOCS_TEST__MATRIX__PYTHON="3.11,3.12",
        SUITES__A_B__TESTS_ADD="more, tests/b",
        SUITES__A_B__RETRIES="2",
        MACHINES__LOCAL__PYTHON="/usr/bin/python3",
        STORES__HISTORY="/var/history",
        FLAGS__NEW__PERCENTAGE="50%",
        KPI__SHADOW_RUNS="3",
    )
    suite = settings.suites["docs_test-3.11"]
    assert (suite.timeout_seconds, suite.allow_empty, suite.when.labels) == (90.0, True, ("a", "b"))
    assert suite.when.schedule == ("0 2 * * 1,3", "0 3 * * *")
    assert suite.needs is not None
    assert suite.needs.cpus == 1.5
    assert suite.env == {"MY_Var": "x"}
    assert settings.suites["a-b-3.12"].tests == ("tests", "more", "tests/b")
    assert settings.suites["a-b-3.12"].retries == 2
    assert settings.machines["local"].python == "/usr/bin/python3"
    assert settings.stores == {"history": "/var/history"}
    assert settings.flags["new"].percentage == 50.0
    assert settings.shadow_runs == 3


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("RETRY_LIMITS", "1", "no setting has this name (did you mean CI_RUNNER_RETRY_LIMIT?)"),
        ("SUTES__UNIT__RISK", "low", "no setting has this name (did you mean CI_RUNNER_SUITES__UNIT__RISK?)"),
        (
            "SUITES__UNTI__RISK",
            "low",
            "no setting has this name (did you mean CI_RUNNER_SUITES__UNIT__RISK?)",
        ),
        (
            "SUITES__UNIT__RISKS",
            "low",
            "no setting has this name (did you mean CI_RUNNER_SUITES__UNIT__RISK?)",
        ),
        ("SUITES____RISK", "low", "no setting has this name"),
        ("XYZZY__A", "low", "no setting has this name"),
        ("SUITES__UNIT__TESTS__0", "a", "suites.unit.tests is set as a whole, and nothing below it"),
        ("SUITES__UNIT__RISK__A", "a", "suites.unit.risk is set as a whole, and nothing below it"),
    ],
)
def test_a_variable_that_means_nothing_is_told(name: str, value: str, problem: str, tmp_path: Path) -> None:
    [told] = refused(tmp_path, **{name: value})
    assert told == f"CI_RUNNER_{name}: {problem}"


def test_a_variable_that_could_mean_two_things_is_told(tmp_path: Path) -> None:
    text = '[suites.a-b]\ntests = ["a"]\n[suites.a_b]\ntests = ["b"]\n'
    assert refused(tmp_path, text, SUITES__A_B__RISK="low") == [
        "CI_RUNNER_SUITES__A_B__RISK: means a-b as well as a_b: rename one, or set it in a file"
    ]


def test_a_variable_below_what_a_file_made_a_value_is_told(tmp_path: Path) -> None:
    told = refused(tmp_path, f"kpi = 3\n{UNIT}", KPI__SHADOW_RUNS="3")
    assert "CI_RUNNER_KPI__SHADOW_RUNS: kpi.shadow-runs lies below a value" in told


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("RETRY_LIMIT", "many", "project.retry-limit: must be a whole number, not 'many'"),
        ("RETRY_LIMIT", "1.0", "project.retry-limit: must be a whole number, not '1.0'"),
        ("RETRY_LIMIT", "9" * 5000, "project.retry-limit: must be a whole number, not '99999"),
        ("SUITES__UNIT__ALLOW_EMPTY", "maybe", "suites.unit.allow-empty: must be true or false, not 'maybe'"),
        ("SUITES__UNIT__WHEN", "push", "suites.unit.when: must be a table, not 'push'"),
        ("SUITES__UNIT__NEEDS__CPUS", "two", "suites.unit.needs.cpus: must be a number, not 'two'"),
        ("SUITES__UNIT__TESTS", "/etc", "suites.unit.tests.0: '/etc' leads out of the project"),
        ("PHASE", "", "project.phase: '' is none of '1'"),
    ],
)
def test_a_variable_that_is_wrong_is_told_by_its_name(
    name: str, value: str, problem: str, tmp_path: Path
) -> None:
    [told] = refused(tmp_path, **{name: value})
    assert told.startswith(problem)
    assert told.endswith(f"(CI_RUNNER_{name})")


OTHERS = [
    "ID", "TAGS", "VERSION", "DESCRIPTION", "REVISION", "SHORT_TOKEN", "EXECUTABLE_ARCH",  # GitLab's
    "VENV", "GROUPS", "EXTRAS", "SIDECAR", "STACKS", "SELECT", "LEASE", "HOME", "JOB",  # our own
    "SOMETHING_ELSE",
]  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_variables_that_are_no_settings_change_nothing(name: str, tmp_path: Path) -> None:
    assert with_variables(tmp_path, **{name: "x"}) == with_variables(tmp_path)


def test_no_setting_is_hidden_by_a_variable_that_is_none() -> None:
    names = {key.upper().replace("-", "_") for key in keys_at(RootTable, ["project"])}
    assert names.isdisjoint(NOT_SETTINGS)


# -- parts


def test_a_value_from_nowhere_has_no_origin() -> None:
    layers = Layers()
    layers.set(("a", "b", "c"), 1, Origin(kind="flag", name="a.b.c"))
    assert layers.origin_of("x.y") is None
    assert layers.origin_of("a.b.d") == Origin(kind="flag", name="a.b.c")


def test_what_may_stand_where() -> None:
    assert keys_at(RootTable, ["suites", "any"]) == keys_at(SuiteTable, [])
    assert "cpus" in keys_at(RootTable, ["suites", "any", "needs"])
    assert "owner" in keys_at(RootTable, ["quarantine", "0"])
    assert keys_at(RootTable, ["suites"]) == []
    assert keys_at(RootTable, ["nothing", "there"]) == []
    assert below(RootTable, "nothing") is None
