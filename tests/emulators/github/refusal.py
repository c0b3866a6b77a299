"""How GitHub says no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DOCS = "https://docs.github.com/rest"
SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. "
    "If you reach out to GitHub Support for help, please include the request ID."
)


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of the emulator
    """An answer with an error status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body: dict[str, Any] = {"message": message, "documentation_url": DOCS, "status": str(status)}
        if errors:
            self.body["errors"] = list(errors)


def not_found() -> Refusal:
    """Absent, or not for this token to see."""
    return Refusal(404, "Not Found")


def forbidden() -> Refusal:
    """What a token of a workflow hears that lacks a permission."""
    return Refusal(403, "Resource not accessible by integration")


def invalid(said: str = "Validation Failed", **error: str) -> Refusal:
    """A request that can be read and not be done."""
    return Refusal(422, said, errors=[error] if error else ())


def too_long(resource: str, field: str, most: int) -> Refusal:
    """A text over its limit."""
    return invalid(
        resource=resource,
        code="custom",
        field=field,
        message=f"{field} is too long (maximum is {most} characters)",
    )


def secondary(retry_after: int | None = 1) -> Refusal:
    """Too many requests at once; GitHub says how long to wait, or does not."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Refusal(403, SECONDARY, headers=headers)
