"""Providers by name; a provider's module, and the cloud library that it needs, are imported when it is used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from ci_runner.errors import ConfigurationError

if TYPE_CHECKING:
    from ci_runner.providers.base import Provider

# name in `[machines.*] provider` → module with `connect(environ) -> Provider`
PROVIDERS: dict[str, str] = {
    "aws-ec2": "ci_runner.providers.aws_ec2",
    "gcp-tpu": "ci_runner.providers.gcp_tpu",
    "local": "ci_runner.providers.local",
    "ssh": "ci_runner.providers.ssh",
}


def provider_named(name: str, environ: Mapping[str, str]) -> Provider:
    """The provider of this name. Raises ConfigurationError for a name that there is not."""
    if name not in PROVIDERS:
        near = difflib.get_close_matches(name, PROVIDERS, n=1)
        hint = f'perhaps you meant "{near[0]}"; ' if near else ""
        raise ConfigurationError(
            f'no provider is called "{name}"',
            where="machines.*.provider",
            fix=f"{hint}there are: {', '.join(sorted(PROVIDERS))}",
        )
    return cast("Provider", importlib.import_module(PROVIDERS[name]).connect(environ))
