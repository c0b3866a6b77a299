"""Small repositories as data: their files, and the suites that they seem to have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci_runner.model import Suite

TEST = "def test_a():\n    pass\n"
UNITTEST = "import unittest\n\n\nclass A(unittest.TestCase):\n    def test_a(self):\n        pass\n"
AS_UNITTEST = ("-o", "python_files=test*.py")
VITEST = "npx vitest run --reporter=default --reporter=junit --outputFile.junit=junit.xml"
JEST = "JEST_JUNIT_OUTPUT_FILE=junit.xml npx jest --reporters=default --reporters=jest-junit"
CMAKE = 'cmake -S . -B build && cmake --build build && ctest --test-dir build --output-junit "$PWD/junit.xml"'


@dataclass(frozen=True)
class Sample:
    """One repository."""

    files: Mapping[str, str]
    suites: tuple[Suite, ...] = ()
    missing: tuple[str, ...] = field(default=())  # how the sentences begin


def python(*tests: str, arguments: tuple[str, ...] = ()) -> Suite:
    """The suite of a Python project."""
    return Suite(name="unit", title="unit", tests=tests, pytest_args=arguments)


def job(name: str, command: str, junit: str = "junit.xml", setup: tuple[str, ...] = ()) -> Suite:
    """A suite that is a command."""
    return Suite(name=name, title=name, command=command, junit=(junit,), setup=setup)


GO = job("go", "gotestsum --junitfile junit.xml ./...")


def rust(profile: str, junit: str) -> Suite:
    """The suite of a Rust project."""
    return job("rust", f"cargo nextest run --profile {profile}", junit)


def nextest(config: str, profile: str, junit: str) -> Sample:
    """A Rust project with a configuration of nextest."""
    return Sample({"Cargo.toml": "", ".config/nextest.toml": config}, (rust(profile, junit),))


def package(text: str, *suites: Suite, lock: str = "package-lock.json") -> Sample:
    """A JavaScript project."""
    return Sample({"package.json": text, lock: ""}, suites)


NO_PROFILE = (rust("ci", "target/nextest/ci/junit.xml"),)
UNIT = (python("tests"),)
SAMPLES: dict[str, Sample] = {
    # pytest by its files
    "tests": Sample({"tests/test_a.py": TEST}, UNIT),
    "test": Sample({"test/deep/down/a_test.py": TEST}, (python("test"),)),
    "both-folders": Sample({"tests/test_a.py": TEST, "test/test_b.py": TEST}, (python("tests", "test"),)),
    "flat": Sample({"test_a.py": TEST}, (python("."),)),
    "inside-the-package": Sample({"src/a/tests/test_a.py": TEST}, (python("."),)),
    "a-folder-without-tests": Sample({"tests/helpers.py": "", "tests/data.txt": ""}),
    "not-python": Sample({"tests/test_a.txt": "", "tests/test_b.pyc": ""}),
    "too-deep": Sample({"tests/1/2/3/4/5/6/7/test_a.py": TEST}),
    "not-ours": Sample(
        {
            "node_modules/a/test_a.py": TEST,
            ".venv/lib/test_b.py": TEST,
            ".git/test_c.py": TEST,
            ".ci-runner/runs/1/test_d.py": TEST,
            "tests/__pycache__/test_e.py": TEST,
        }
    ),
    # pytest by its settings
    "testpaths": Sample(
        {"pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["checks"]\n', "checks/test_a.py": TEST},
        (python("checks"),),
    ),
    "testpaths-as-text": Sample(
        {"pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = "b a a"', "a/x": "", "b/x": ""},
        (python("b", "a"),),
    ),
    "pytest-9": Sample(
        {"pyproject.toml": '[tool.pytest]\ntestpaths = ["checks/"]', "checks/x": ""}, (python("checks"),)
    ),
    "pytest-toml": Sample(
        {"pytest.toml": '[pytest]\ntestpaths = ["./a"]', "pytest.ini": "[pytest]\ntestpaths = b", "a/x": ""},
        (python("a"),),
    ),
    "pytest-ini": Sample(
        {"pytest.ini": "[pytest]\ntestpaths =\n    a\n    b/c\n", "a/x": "", "b/c/x": ""},
        (python("a", "b/c"),),
    ),
    "pytest-ini-comes-first": Sample(
        {
            "pytest.ini": "",
            "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["a"]',
            "a/x": "",
            "tests/test_a.py": TEST,
        },
        UNIT,
    ),
    "tox-ini": Sample({"tox.ini": "[pytest]\ntestpaths = spec\n", "spec/test_a.py": TEST}, (python("spec"),)),
    "setup-cfg": Sample({"setup.cfg": "[tool:pytest]\ntestpaths = spec\n", "spec/x": ""}, (python("spec"),)),
    "testpaths-with-a-glob": Sample(
        {"pytest.ini": "[pytest]\ntestpaths = src/*/tests", "src/b/tests/x": "", "src/a/tests/x": ""},
        (python("src/a/tests", "src/b/tests"),),
    ),
    "testpaths-with-a-deep-glob": Sample(
        {"pytest.ini": "[pytest]\ntestpaths = src/**/tests **", "src/a/tests/x": ""}, (python("src", "."),)
    ),
    "testpaths-with-a-wide-glob": Sample(
        {"pytest.ini": "[pytest]\ntestpaths = src/*", **{f"src/{number}/x": "" for number in range(60)}},
        (python("src"),),
    ),
    "testpaths-that-lead-elsewhere": Sample(
        {
            "pytest.ini": f"[pytest]\ntestpaths = gone ../up /etc --help a\0b {'n' * 300} {'n' * 300}/* *[",
            "tests/test_a.py": TEST,
        },
        UNIT,
    ),
    "testpaths-of-no-kind": Sample(
        {"pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = [1, '', {a = 2}]\n[tool.x]\n"}
    ),
    "names-of-its-own": Sample(
        {"setup.cfg": "[tool:pytest]\npython_files = check_*.py tests.py\n", "app/tests.py": TEST},
        (python("."),),
    ),
    "broken-settings": Sample(
        {"pyproject.toml": "[tool.pytest", "tox.ini": "no section", "tests/test_a.py": TEST}, UNIT
    ),
    "pytest-is-no-table": Sample({"pyproject.toml": "tool = 1", "tests/test_a.py": TEST}, UNIT),
    "a-byte-order-mark": Sample(
        {"pytest.ini": "\ufeff[pytest]\ntestpaths = a", "a/x": ""},
        (python("a"),),
    ),
    # unittest
    "unittest-with-pytest-names": Sample({"tests/test_a.py": UNITTEST}, UNIT),
    "unittest-alone": Sample({"tests/testa.py": UNITTEST}, (python("tests", arguments=AS_UNITTEST),)),
    "unittest-flat": Sample({"testing_a.py": UNITTEST}, (python(".", arguments=AS_UNITTEST),)),
    "only-named-like-unittest": Sample({"tests/testutils.py": "HELP = 1\n"}),
    # others
    "go": Sample({"go.mod": "module example.org/a\n"}, (GO,)),
    "go-mod-is-a-folder": Sample({"go.mod/x": ""}),
    "rust": Sample({"Cargo.toml": "[package]\nname = 'a'\n"}, NO_PROFILE, ("rust: cargo nextest",)),
    "rust-profile": nextest(
        '[profile.slow.junit]\npath = "out.xml"\n', "slow", "target/nextest/slow/out.xml"
    ),
    "rust-two-profiles": nextest(
        '[profile.a.junit]\npath = "a.xml"\n[profile.ci.junit]\npath = "b.xml"\n',
        "ci",
        "target/nextest/ci/b.xml",
    ),
    "rust-store": nextest(
        '[store]\ndir = "out/next"\n[profile.ci.junit]\npath = "j.xml"\n', "ci", "out/next/ci/j.xml"
    ),
    "rust-profile-with-a-command": Sample(
        {"Cargo.toml": "", ".config/nextest.toml": '[profile."x; touch y".junit]\npath = "junit.xml"\n'},
        NO_PROFILE,
        ("rust: ",),
    ),
    "rust-profile-outside": Sample(
        {"Cargo.toml": "", ".config/nextest.toml": '[profile.ci.junit]\npath = "../../x.xml"\n'},
        NO_PROFILE,
        ("rust: ",),
    ),
    "rust-profile-without-junit": Sample(
        {"Cargo.toml": "", ".config/nextest.toml": "profile.ci = 1\nprofile.b.junit.path = 2\nstore = 3\n"},
        NO_PROFILE,
        ("rust: ",),
    ),
    "vitest": package('{"devDependencies": {"vitest": "3"}}', job("js", VITEST, setup=("npm ci",))),
    "vitest-pnpm": package(
        '\ufeff{"dependencies": {"vitest": "3"}}',
        job("js", VITEST, setup=("pnpm install --frozen-lockfile",)),
        lock="pnpm-lock.yaml",
    ),
    "vitest-without-a-lock": package(
        '{"devDependencies": {"vitest": "3"}}', job("js", VITEST, setup=("npm install",)), lock="x"
    ),
    "jest": package(
        '{"devDependencies": {"jest": "30", "jest-junit": "16"}}', job("js", JEST, setup=("npm ci",))
    ),
    "jest-that-writes-no-junit": package('{"devDependencies": {"jest": "30"}}'),
    "package-is-a-list": package("[1]"),
    "package-is-broken": package('{"devDependencies": {"vitest'),
    "dependencies-are-a-list": package('{"devDependencies": ["vitest"]}'),
    "package-is-very-deep": package("[" * 100_000),
    "cmake": Sample({"CMakeLists.txt": "project(a)\nenable_testing()\n"}, (job("cmake", CMAKE),)),
    "cmake-ctest": Sample({"CMakeLists.txt": "project(a)\n  Include( CTest )\n"}, (job("cmake", CMAKE),)),
    "cmake-without-tests": Sample({"CMakeLists.txt": "project(a)\n# enable_testing()\n"}),
    # together, and nothing
    "all": Sample(
        {
            "tests/test_a.py": TEST,
            "go.mod": "",
            "Cargo.toml": "",
            "package.json": '{"dependencies": {"vitest": "3"}}',
            "CMakeLists.txt": "enable_testing()",
        },
        (*UNIT, GO, *NO_PROFILE, job("js", VITEST, setup=("npm install",)), job("cmake", CMAKE)),
        ("rust: ",),
    ),
    "nothing": Sample({"README.md": "# a\n"}),
    "empty": Sample({}),
}


def make(folder: Path, files: Mapping[str, str]) -> Path:
    """Write the files, and a .git that holds nothing."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / ".git").mkdir(parents=True, exist_ok=True)
    return folder
