"""The ways for log records that Lambda offers beside the standard streams.

On demand, the platform may hand the process a descriptor, its number in ``_LAMBDA_TELEMETRY_LOG_FD``. A record goes
there as one frame, however many lines it has: a big-endian header of type (u32), length (u32) and microseconds since
the epoch (u64), then the text in UTF-8. The type says format and level. On Managed Instances there is a unix stream
socket instead, its path in ``_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET``: a process connects to it once for its stdout
and once for its stderr, and goes on in lines.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
import threading
import time
from typing import Final

__all__ = ["DESCRIPTOR", "PROVIDER_SOCKET", "Frames", "frame_type", "redirect_output"]

DESCRIPTOR: Final = "_LAMBDA_TELEMETRY_LOG_FD"
PROVIDER_SOCKET: Final = "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET"

_HEADER = struct.Struct(">IIQ")
_JSON = 0xA55A0002
_TEXT = 0xA55A0003
# By the tens of Python's level numbers; what is below DEBUG has no bits of its own.
_LEVEL_BITS = (0x00, 0x08, 0x0C, 0x10, 0x14, 0x18)


def frame_type(level: int, is_json: bool) -> int:
    """Returns the type of a frame for a level number of the ``logging`` module."""
    return (_JSON if is_json else _TEXT) | _LEVEL_BITS[max(0, min(50, level)) // 10]


class Frames:
    """The telemetry descriptor. Threads may write at once: each frame goes out whole."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError if no such descriptor is open. Programs that the app starts do not inherit it."""
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._renew_lock)

    def write(self, kind: int, text: str) -> None:
        """Writes one frame. Raises OSError; after that the descriptor is of no use."""
        message = text.encode("utf-8", "backslashreplace")
        frame = _HEADER.pack(kind, len(message), time.time_ns() // 1000) + message
        with self._lock:
            _write_all(self._descriptor, frame)

    def _renew_lock(self) -> None:
        # In the child of a fork nobody is left to release a lock that another thread held.
        self._lock = threading.RLock()


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()


def redirect_output(path: str) -> None:
    """Connects stdout and stderr of this process to the provider socket. Raises OSError.

    What the child of a fork prints needs connections of its own: call it there again.
    """
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        if stream is not None:
            stream.flush()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            # Also if the app has set a default: text streams cannot write to what does not block.
            connection.settimeout(None)
            connection.connect(path)
            os.dup2(connection.fileno(), descriptor)
