"""Options of machines: each one that a provider reads is known, and any other is a problem that names what is near."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ci_runner.config.load import load_settings
from ci_runner.config.options import OPTIONS, unread_options
from ci_runner.errors import ConfigurationError

CODE = Path(__file__).parents[2] / "ci_runner"
READ = re.compile(r'options(?:\.get\(|\[)"([a-z-]+)"|^[A-Z_]*OPTION = "([a-z-]+)"', re.MULTILINE)


def test_the_known_options_are_those_that_are_read() -> None:
    read = {
        name
        for room in ("providers", "remote", "execution")
        for path in (CODE / room).glob("*.py")
        for match in READ.findall(path.read_text("utf-8"))
        for name in match
        if name
    }
    assert read == set(OPTIONS)


def test_an_option_that_nothing_reads_is_a_problem_with_its_place_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "ci-runner.toml").write_text(
        '[machines.gpu]\nprovider = "aws-ec2"\ntype = "g5.xlarge"\noptions = { subent = "s-1", user = "me" }\n'
    )
    with pytest.raises(ConfigurationError) as raised:
        load_settings(tmp_path, environ={"HOME": str(tmp_path)})
    (line,) = raised.value.lines()[1:-1]
    assert "machines.gpu.options.subent" in line
    assert "subnet" in line


@pytest.mark.parametrize(
    ("machine", "unread"),
    [
        ({"provider": "gcp-tpu", "options": {"network": "n", "subnet": "s"}}, ["subnet"]),
        ({"provider": "local", "options": {"user": "me"}}, ["user"]),
        ({"provider": "cloud", "options": {"x": "y"}}, []),
        ({"provider": "ssh", "options": "odd"}, []),
        ({"options": {"x": "y"}}, []),
        ({}, []),
    ],
)
def test_each_provider_has_options_of_its_own(machine: dict[str, object], unread: list[str]) -> None:
    assert [name for name, _ in unread_options(machine)] == unread
