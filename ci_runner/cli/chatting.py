"""Tells channels of Slack and Teams: which of them, whether now, what exactly; or prints what would be sent."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ci_runner.errors import CiRunnerError, ConfigurationError
from ci_runner.report.chat import Alert, Message, alert_message, cost_alert, payload_text

if TYPE_CHECKING:
    from ci_runner.config.settings import Notify, Settings
    from ci_runner.model import RunResult
    from ci_runner.report.comment import Context

SERVICES = {"slack": "Slack", "teams": "Teams"}


class Unsent(CiRunnerError):  # noqa: N818 - it is what happened
    """A message did not reach its channel."""


@dataclass(slots=True)
class Chat:
    """One telling: to several channels, with the lines that say what became of it."""

    settings: Settings
    environ: Mapping[str, str]
    dry_run: bool = False
    now: float = field(default_factory=time.time)
    lines: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def tell(self, channel: Notify, message: Message, events: Iterable[str], *, urgent: bool = False) -> None:
        """Send one message to one channel, unless something speaks against it."""
        from ci_runner.report import chat_rules

        span = chat_rules.quiet_span(channel, datetime.fromtimestamp(self.now, UTC))
        quiet = f"these are its quiet hours ({span})" if span else ""
        if chat_rules.passes(channel, events, urgent=urgent):
            quiet = ""
        if self.dry_run:
            held = f"; held back now, since {quiet}" if quiet else ""
            self._say(
                channel,
                f"would post, to the address in {channel.url_env}{held}:\n{_texts(channel, message, indent=1)[0]}",
            )
        elif quiet:
            self._say(channel, f"not sent, since {quiet}")
        else:
            self._send(channel, message)

    def _send(self, channel: Notify, message: Message) -> None:
        from ci_runner.report.publish.chat_send import deliver, webhook_address

        secret = self.environ.get(channel.url_env, "")
        if not secret.strip():
            self._say(channel, f"not sent, since {channel.url_env} is not set")
            return
        try:
            address = webhook_address(secret)
        except ValueError as error:
            self._fail(channel, f"{channel.url_env} {error}")
            return
        self._mask(address)
        allowed, uncounted = self._claim(channel)
        if not allowed:
            number, seconds = channel.at_most or (0, 0)
            self._say(
                channel, f"not sent, since {number} messages were sent in this {_window(seconds)} already"
            )
            return
        wrong = deliver(address, [text.encode("utf-8") for text in _texts(channel, message)])
        if wrong:
            self._fail(channel, wrong)
        else:
            self._say(channel, f"sent{uncounted}")

    def _claim(self, channel: Notify) -> tuple[bool, str]:
        """Whether there is room under the channel's limit; where that cannot be known, telling is better than silence."""
        if channel.at_most is None:
            return True, ""
        from ci_runner.history.store import open_store, usual_location
        from ci_runner.report.publish.chat_limit import claim

        try:
            store = open_store(usual_location(self.settings.stores, self.environ), self.settings.root)
            return claim(store, channel, self.now), ""
        except (CiRunnerError, OSError) as error:
            what = error.what if isinstance(error, CiRunnerError) else error.strerror or str(error)
            return True, f", without counting it: the history cannot be used: {what}"

    def _mask(self, address: str) -> None:
        """Let the runner hide the address in this job's log, whoever prints it. The runner reads both streams."""
        if self.environ.get("GITHUB_ACTIONS") == "true":
            from ci_runner.github.commands import command

            print(command("add-mask", address), file=sys.stderr, flush=True)

    def _say(self, channel: Notify, what: str) -> None:
        self.lines.append(f"{channel.kind}: {channel.name}: {what}")

    def _fail(self, channel: Notify, what: str) -> None:
        self.failed.append(f"{channel.name}: {what}")


def chat(
    kind: str,
    result: RunResult,
    context: Context,
    settings: Settings,
    arguments: Namespace,
    environ: Mapping[str, str],
) -> str:
    """Tell all channels of a service about a run and its costs. Raises Unsent if one that should have heard did not."""
    from ci_runner.report import chat_rules

    channels = [channel for channel in settings.notify.values() if channel.kind == kind]
    if not channels:
        raise ConfigurationError(
            f"there is no channel of {SERVICES[kind]} in the configuration",
            fix=f'add [notify.NAME] with kind = "{kind}" and url-env; docs/how-to/chat.md shows how',
        )
    telling = Chat(settings, environ, dry_run=arguments.dry_run)
    events, costs = chat_rules.events_of(result, context), cost_alert(result, context)
    for channel in channels:
        if costs is not None and costs.kind in channel.events:
            telling.tell(channel, alert_message(costs), [costs.kind], urgent=costs.urgent)
        message = chat_rules.message_for(channel, result, context)
        if message is None:
            telling.lines.append(
                f"{kind}: {channel.name}: not sent, since it is told of {_listed(channel.events)} only"
            )
        elif not chat_rules.is_of_branch(channel, result.plan.event):
            telling.lines.append(f"{kind}: {channel.name}: not sent, since it is not told of this branch")
        else:
            telling.tell(channel, message, events.intersection(channel.events))
    if telling.failed:
        raise Unsent("; ".join([*telling.failed, *telling.lines]))
    return "\n".join(telling.lines)


def alert(
    what: Alert, settings: Settings, environ: Mapping[str, str] = os.environ, *, dry_run: bool = False
) -> list[str]:
    """Tell every channel that wants it of a cost or a booking; what could not be told is a line among the others."""
    telling = Chat(settings, environ, dry_run=dry_run)
    for channel in settings.notify.values():
        if what.kind in channel.events:
            telling.tell(channel, alert_message(what), [what.kind], urgent=what.urgent)
    return [*telling.lines, *(f"warning: a chat was not told: {line}" for line in telling.failed)]


def _texts(channel: Notify, message: Message, *, indent: int | None = None) -> list[str]:
    """What is posted, and the shorter text for a service that finds it too large."""
    if channel.kind == "slack":
        from ci_runner.report.chat_slack import slack_payload as payload
    else:
        from ci_runner.report.chat_teams import teams_payload as payload
    return [payload_text(payload(message, brief=brief), indent=indent) for brief in (False, True)]


def _listed(events: Iterable[str]) -> str:
    return ", ".join(events)


def _window(seconds: int) -> str:
    return "hour" if seconds == 3_600 else "day"
