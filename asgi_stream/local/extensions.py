"""The internal extensions of an execution environment: what the function's own process registers.

Source: the Lambda developer guide, "Using the Lambda Extensions API to create extensions"; the refusals are those of
AWS's own server.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# An extension that runs in the function's own process may not ask for SHUTDOWN: it gets SIGTERM.
EVENTS = frozenset({"INVOKE"})


class RegistrationRefused(Exception):
    """Raised for a call that AWS's server answers with 403; `error_type` is the type that it names."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Extension:
    """One registered extension: `polled` once it has asked for an event, `events` what waits for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.polled = False
        self.events: deque[Mapping[str, Any]] = deque()


class Extensions:
    """All extensions of one environment, by their identifiers. INVOKE events are taken note of, and never sent."""

    def __init__(self) -> None:
        self._registered: dict[str, Extension] = {}

    @property
    def names(self) -> list[str]:
        """The names in the order of registration."""
        return [extension.name for extension in self._registered.values()]

    @property
    def ready(self) -> bool:
        """Whether each has asked for an event: Lambda's init lasts until then."""
        return all(extension.polled for extension in self._registered.values())

    def register(self, name: str | None, body: bytes, *, closed: bool) -> str:
        """Returns the new extension's identifier. Raises RegistrationRefused.

        `closed` says that the runtime has polled, after which nothing can register.
        """
        if closed:
            raise RegistrationRefused("Extension.RegistrationClosed", "Extension registration closed already")
        if not name:
            raise RegistrationRefused("Extension.InvalidExtensionName", "Empty extension name")
        try:
            events = json.loads(body)["events"]
            unknown = [event for event in events if event not in EVENTS]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RegistrationRefused("InvalidRequestFormat", "the body is not {'events': […]}") from None
        if unknown:
            raise RegistrationRefused("Extension.InvalidEventType", f"{unknown[0]}: not for an internal extension")
        if name in self.names:
            raise RegistrationRefused("Extension.InvalidExtensionState", "Extension with this name already registered")
        identifier = secrets.token_hex(16)
        self._registered[identifier] = Extension(name)
        return identifier

    def poll(self, identifier: str | None) -> deque[Mapping[str, Any]]:
        """Takes note that the extension is ready; returns what (will) wait for it. Raises RegistrationRefused."""
        if identifier is None:
            raise RegistrationRefused(
                "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"
            )
        extension = self._registered.get(identifier)
        if extension is None:
            raise RegistrationRefused("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")
        extension.polled = True
        return extension.events

    def send(self, event: Mapping[str, Any]) -> None:
        """Lets an event wait for every extension."""
        for extension in self._registered.values():
            extension.events.append(event)
