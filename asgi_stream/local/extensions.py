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
    """One registered extension: `polls` while its request for an event is open, `events` are those to come."""

    def __init__(self, name: str, *, gets_invoke: bool) -> None:
        self.name = name
        self.gets_invoke = gets_invoke
        self.polls = False
        self.events: deque[Mapping[str, Any]] = deque()

    def take(self) -> Mapping[str, Any]:
        """Returns the event that goes out in reply to the poll."""
        self.polls = False
        return self.events.popleft()


class Extensions:
    """All extensions of one environment, by their identifiers."""

    def __init__(self) -> None:
        self._registered: dict[str, Extension] = {}

    @property
    def names(self) -> list[str]:
        """The names in the order of registration."""
        return [extension.name for extension in self._registered.values()]

    @property
    def ready(self) -> bool:
        """Whether each has an open poll and no event to come: Lambda's init, and an invocation, last until then."""
        return all(extension.polls and not extension.events for extension in self._registered.values())

    def register(self, name: str | None, body: bytes, *, closed: bool) -> str:
        """Returns the new extension's identifier. Raises RegistrationRefused.

        `closed` says that the runtime has polled, after which nothing can register.
        """
        if closed:
            raise RegistrationRefused("Extension.RegistrationClosed", "Extension registration closed already")
        if not name:
            raise RegistrationRefused("Extension.InvalidExtensionName", "Empty extension name")
        events = _read_events(body)
        for event in events:
            if event not in EVENTS:
                raise RegistrationRefused("Extension.InvalidEventType", f"{event}: not for an internal extension")
        if name in self.names:
            raise RegistrationRefused("Extension.InvalidExtensionState", "Extension with this name already registered")
        identifier = secrets.token_hex(16)
        self._registered[identifier] = Extension(name, gets_invoke="INVOKE" in events)
        return identifier

    def poll(self, identifier: str | None) -> Extension:
        """Records that the extension polls for an event; returns the extension. Raises RegistrationRefused."""
        if identifier is None:
            raise RegistrationRefused(
                "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header"
            )
        extension = self._registered.get(identifier)
        if extension is None:
            raise RegistrationRefused("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")
        if extension.polls:
            raise RegistrationRefused(
                "Extension.InvalidExtensionState", f"State transition from Ready to Ready failed for {extension.name}"
            )
        extension.polls = True
        return extension

    def send(self, event: Mapping[str, Any]) -> None:
        """Lets an event wait for every extension; INVOKE for those that have registered for it."""
        for extension in self._registered.values():
            if extension.gets_invoke or event["eventType"] != "INVOKE":
                extension.events.append(event)


def _read_events(body: bytes) -> list[str]:
    """The events in a registration, none where it names none. Raises RegistrationRefused."""
    try:
        events = json.loads(body).get("events") or []
    except (ValueError, AttributeError, RecursionError):
        events = None
    if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
        raise RegistrationRefused("InvalidRequestFormat", "the body is not {'events': […]}")
    return events
