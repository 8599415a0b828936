"""Log records of the runtime itself, one write each, in the text format of AWS's Python runtime."""

from __future__ import annotations

import sys
import time
import traceback

__all__ = ["log", "log_exception"]


def log(level: str, message: str, request_id: str = "") -> None:
    """Writes one record to the standard error stream, which Lambda sends to CloudWatch Logs."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
    sys.stderr.write(f"[{level}]\t{stamp}\t{request_id}\t{message.rstrip()}\n")
    sys.stderr.flush()


def log_exception(message: str, error: BaseException, request_id: str = "") -> None:
    """Writes an ERROR record with the whole traceback, causes and groups included."""
    log("ERROR", f"{message}\n{''.join(traceback.format_exception(error))}", request_id)
