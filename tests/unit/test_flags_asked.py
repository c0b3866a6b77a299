"""What GitHub may answer to the question for flags, and where the question goes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ci_runner.errors import GitHubError
from ci_runner.github import query
from ci_runner.history import flags_asked


@pytest.mark.parametrize(
    ("api", "address"),
    [
        ("https://api.github.com", "https://api.github.com/graphql"),
        ("https://ghes.example/api/v3", "https://ghes.example/api/graphql"),
        ("http://127.0.0.1:99", "http://127.0.0.1:99/graphql"),
    ],
)
def test_the_question_goes_to_the_same_server_as_all_others(api: str, address: str) -> None:
    assert query._graphql(api) == address


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>", "cannot be read"),
        (b"[1]", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"data": null}', "no data"),
        (b'{"data": {}, "errors": [{"message": "no\\nway"}]}', "no.*way"),
        (b'{"data": {}, "errors": ["odd"]}', "no data"),
        (b'{"errors": "odd"}', "no data"),
    ],
)
def test_what_is_no_answer_is_an_error(body: bytes, said: str) -> None:
    with pytest.raises(GitHubError, match=said):
        query._data(body, "https://api.github.com/graphql")


@pytest.mark.parametrize(
    ("repository", "off", "unreachable"),
    [
        ({"object": None}, [], False),
        ({"object": {}}, [], False),
        ({"object": {"entries": "odd"}}, [], False),
        ({"object": {"entries": [{"name": "f", "object": None}]}}, [], False),
        ({"object": {"entries": ["odd"]}}, [], True),
        (None, [], True),
        ("odd", [], True),
        ({"object": {"entries": [{"name": "f", "object": {"entries": [{"name": "..", "object": {}}]}}]}}, [], False),
        (
            {"object": {"entries": [{"name": "f", "object": {"entries": [{"name": "override-1.json", "object": {}}]}}]}},
            ["f"],
            False,
        ),
    ],
)  # fmt: skip
def test_answers_of_any_shape(
    repository: Any, off: list[str], unreachable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads(json.dumps({"repository": repository}))
    monkeypatch.setattr(flags_asked, "ask_once", lambda *_words: data)
    found = flags_asked.ask_flags({"GITHUB_REPOSITORY": "org/app"}, "ci-runner-history").overrides
    assert list(found.active) == off
    assert (found.unreachable is not None) is unreachable
