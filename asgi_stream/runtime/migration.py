"""What the variables of Lambda Web Adapter become, for functions that come from it. Imported where one is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgi_stream.runtime.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PREFIX", "REPLACEMENTS", "log_replacements"]

PREFIX = "AWS_LWA_"
NOT_NEEDED = "not needed, no web server is started"

# Source: the table of configurations in Lambda Web Adapter's README, version 1.0, and what older versions had.
REPLACEMENTS = {
    "AWS_LWA_PORT": NOT_NEEDED,
    "AWS_LWA_HOST": NOT_NEEDED,
    "AWS_LWA_READINESS_CHECK_PORT": NOT_NEEDED,
    "AWS_LWA_READINESS_CHECK_PATH": NOT_NEEDED,
    "AWS_LWA_READINESS_CHECK_PROTOCOL": NOT_NEEDED,
    "AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": NOT_NEEDED,
    "AWS_LWA_READINESS_CHECK_MIN_UNHEALTHY_STATUS": NOT_NEEDED,
    "AWS_LWA_ASYNC_INIT": "not needed, an app starts in its lifespan, and Lambda retries an init of more than 10 s",
    "AWS_LWA_REMOVE_BASE_PATH": "set ASGI_STREAM_API_GATEWAY_BASE_PATH to the same path",
    "AWS_LWA_ENABLE_COMPRESSION": "add a compression middleware to the app that flushes each message",
    "AWS_LWA_INVOKE_MODE": (
        "set ASGI_STREAM_INVOKE_MODE to stream (the default here) for response_stream, to buffered (the default there) "
        "for buffered"
    ),
    "AWS_LWA_PASS_THROUGH_PATH": "set ASGI_STREAM_PASS_THROUGH_PATH to the same path; by default it is off here",
    "AWS_LWA_AUTHORIZATION_SOURCE": "read that header in the app",
    "AWS_LWA_ERROR_STATUS_CODES": "set ASGI_STREAM_ERROR_STATUS_CODES to the same codes",
    "AWS_LWA_LAMBDA_RUNTIME_API_PROXY": "set AWS_LAMBDA_RUNTIME_API in an exec wrapper (ASGI_STREAM_EXEC_WRAPPER)",
    "AWS_LWA_ENABLE_TLS": NOT_NEEDED,
    "AWS_LWA_TLS_SERVER_NAME": NOT_NEEDED,
    "AWS_LWA_TLS_CERT_FILE": NOT_NEEDED,
}
UNKNOWN = "not known to asgi-stream"


def log_replacements(environ: Mapping[str, str]) -> None:
    """Logs, in one record, what replaces each variable of Lambda Web Adapter that is set."""
    found = sorted(name for name in environ if name.startswith(PREFIX))
    lines = [f"  {name}: {REPLACEMENTS.get(name, UNKNOWN)}" for name in found]
    log("WARNING", "\n".join(["Variables of Lambda Web Adapter have no effect and can be removed:", *lines]))
