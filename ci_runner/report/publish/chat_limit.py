"""Counts the messages of a channel over all processes and machines: one object of the history for each."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from ci_runner.config.settings import Notify
from ci_runner.history.store import Conflict, Store

FOLDER = "notify/"


def claim(store: Store, channel: Notify, now: float) -> bool:
    """Take one of the places that the channel has in this hour or day; False if none is left.

    An object can be made once only, so of many jobs at the same time each gets a place of its own or none.
    Raises OSError or CiRunnerError if the history cannot be read or written.
    """
    if channel.at_most is None:
        return True
    places, seconds = channel.at_most
    start = datetime.fromtimestamp(now // seconds * seconds, UTC)
    folder = f"{FOLDER}{channel.name}/{start:%Y%m%dT%H%MZ}-{seconds}/"
    taken = set(store.list(folder))
    for number in range(1, places + 1):
        key = f"{folder}{number}"
        if key in taken:
            continue
        try:
            with store.together(f"Count a message to {channel.name}"):
                store.put_new(key, secrets.token_hex(16).encode())
        except Conflict:
            continue
        return True
    return False
