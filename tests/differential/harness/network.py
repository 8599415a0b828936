"""Keeps a process off the network, and the packages in it from reporting anything to their makers."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["QUIET", "close_network"]

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")

# The variables that switch off telemetry, downloads and update checks of the packages.
QUIET = {
    "DO_NOT_TRACK": "1",
    "FASTMCP_CHECK_FOR_UPDATES": "off",
    "FASTMCP_SHOW_SERVER_BANNER": "false",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LOGFIRE_SEND_TO_LOGFIRE": "false",
    "OTEL_SDK_DISABLED": "false",
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
}


def close_network() -> None:
    """Makes each connection to another machine, and each look-up of its name, fail in this process."""
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host and not str(host).startswith(LOOPBACK):
        raise ConnectionRefusedError(f"the differential suite uses no network, and something asks for {host}")
