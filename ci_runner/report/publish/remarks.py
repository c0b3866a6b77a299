"""The comments of one pull request or issue on GitHub, as report/sticky.py needs them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ci_runner.github.client import Absent, Client, Unacceptable, Uncertain
from ci_runner.report.sticky import CommentGone, Remark, TooLong

HIDE = (
    "mutation($id: ID!, $classifier: ReportedContentClassifiers!) "
    "{ minimizeComment(input: {subjectId: $id, classifier: $classifier}) { minimizedComment { isMinimized } } }"
)
UNCERTAIN_TRIES = 3


class PullRequestRemarks:
    """Reads and writes the comments; contract: `Remarks` in report/sticky.py."""

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._number = number

    def author(self) -> str:
        """The login under which we write."""
        return self._client.login()

    def all(self) -> Sequence[Remark]:
        """Every comment, over all pages, oldest first."""
        return [_remark(each) for each in self._client.pages(f"issues/{self._number}/comments")]

    def create(self, body: str) -> Remark:
        """A new comment; where no answer comes, what came of it is looked up before it is tried again."""
        before = {each.id for each in self.all()}
        for left in reversed(range(UNCERTAIN_TRIES)):
            try:
                return _remark(self._sent("POST", f"issues/{self._number}/comments", body))
            except Uncertain:
                made = [each for each in self.all() if each.id not in before and _same(each, body)]
                if made and made[-1].author == self.author():
                    return made[-1]
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def update(self, remark: Remark, body: str) -> Remark:
        """The comment with another body."""
        try:
            return _remark(self._sent("PATCH", f"issues/comments/{remark.id}", body))
        except Absent as error:
            raise CommentGone from error

    def delete(self, remark: Remark) -> None:
        """Remove a comment; absent is success."""
        try:
            self._client.send("DELETE", f"issues/comments/{remark.id}")
        except Absent:
            return

    def hide(self, remark: Remark) -> None:
        """Fold a comment away as outdated."""
        try:
            self._client.ask(HIDE, {"id": remark.node_id, "classifier": "OUTDATED"})
        except Absent:
            return

    def _sent(self, verb: str, path: str, body: str) -> Any:
        try:
            return self._client.send(verb, path, {"body": body})
        except Unacceptable as error:
            if any("too long" in code or "too_long" in code for code in error.codes):
                raise TooLong from error
            raise


def _same(remark: Remark, body: str) -> bool:
    return remark.body.replace("\r\n", "\n").strip() == body.replace("\r\n", "\n").strip()


def _remark(value: Any) -> Remark:
    return Remark(
        id=int(value["id"]),
        author=str((value.get("user") or {}).get("login", "")),
        body=str(value.get("body") or ""),
        url=str(value.get("html_url", "")),
        created_at=datetime.fromisoformat(value["created_at"]).timestamp(),
        node_id=str(value.get("node_id", "")),
    )
