"""How EC2 speaks: requests as flat parameters, answers in XML."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from tests.emulators.ec2.faults import Refusal

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the action, its region and parameters, and the request as it came."""

    action: str
    region: str
    params: Mapping[str, str]
    body: bytes = b""
    environ: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: int
    body: bytes
    kind: str = "text/xml"


@dataclass(slots=True)
class SpotRequest:
    """A request for a spot machine, which is open until it has one."""

    id: str
    region: str
    tags: Mapping[str, str]
    instance: str | None = None
    state: str = "active"


def xml(action: str, inside: str) -> Answer:
    text = f"{HEAD}<{action}Response {NAMESPACE}><requestId>0</requestId>{inside}</{action}Response>"
    return Answer(200, text.encode())


def error_item(refusal: Refusal, type_: str, spot: bool) -> str:
    return (
        f"<item><errorCode>{escape(refusal.code)}</errorCode><errorMessage>{escape(refusal.message)}</errorMessage>"
        f"<lifecycle>{'spot' if spot else 'on-demand'}</lifecycle><launchTemplateAndOverrides><overrides>"
        f"<instanceType>{type_}</instanceType></overrides></launchTemplateAndOverrides></item>"
    )


def tags(instance: Any) -> Iterable[tuple[str, str]]:
    return ((tag["key"], tag["value"]) for tag in instance.get_tags())


def tag_item(key: str, value: str) -> str:
    return f"<item><key>{escape(key)}</key><value>{escape(value)}</value></item>"


def listed(call: Call, name: str) -> list[str]:
    return [value for key, value in call.params.items() if re.fullmatch(rf"{name}\.\d+", key)]


def filters(call: Call) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number in itertools.count(1):
        name = call.params.get(f"Filter.{number}.Name")
        if name is None:
            return found
        found[name] = [v for k, v in call.params.items() if k.startswith(f"Filter.{number}.Value.")]
    return found


def fits(request: SpotRequest, wanted: Mapping[str, list[str]]) -> bool:
    for name, values in wanted.items():
        if name == "state" and request.state not in values:
            return False
        if name == "tag-key" and not set(values) & set(request.tags):
            return False
        if name.startswith("tag:") and request.tags.get(name.removeprefix("tag:")) not in values:
            return False
    return True
