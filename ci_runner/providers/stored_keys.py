"""Finds credentials that somebody has stored: they work, until somebody else has them as well."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 64 * 1024  # a file of credentials is a few KiB
LASTING = "AKIA"  # keys of users begin so, those of a session with ASIA
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """One of them, in words, and what is better."""

    text: str
    fix: str


def stored_keys(environ: Mapping[str, str]) -> Iterator[StoredKey]:
    """Keys that last, in a job of GitHub's; people at their own machines may have them."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    own_cloud = any(name.startswith("AWS_ENDPOINT_URL") for name in environ)  # its keys are none of AWS's
    if environ.get("AWS_ACCESS_KEY_ID", "").startswith(LASTING) and not own_cloud:
        yield StoredKey(
            text="AWS_ACCESS_KEY_ID is the key of a user, which lasts until somebody deletes it",
            fix="let the job assume a role by OIDC: ci-runner doctor --print-setup aws --repository OWNER/REPO",
        )
    if _is_service_account(environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")):
        yield StoredKey(
            text="GOOGLE_APPLICATION_CREDENTIALS is the key of a service account, which lasts until somebody deletes it",
            fix="let the job in by OIDC: ci-runner doctor --print-setup gcp --repository OWNER/REPO",
        )


def _is_service_account(path: str) -> bool:
    """Whether a file is such a key; one that cannot be read is for those who need it to say so."""
    if not path:
        return False
    try:
        with Path(path).open("rb") as file:
            found = json.loads(file.read(MAX_BYTES))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("type") == "service_account"
