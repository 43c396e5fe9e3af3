"""Why a request goes no further, and a configuration with which none could."""

from collections.abc import Mapping
from dataclasses import dataclass, field


class SecurityConfigurationError(Exception):
    """A key of the settings cannot check anything; the message names the variable and what it must be."""


@dataclass
class Refused(Exception):
    """Answered to the client as a problem. `reason` is a metric's label: one of a few words, never an id."""

    status: int
    detail: str
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
