"""A function that logs in every way that apps do; the variable ``LOGGING_APP`` says how it sets logging up itself."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import sys
import threading
from typing import Any

from asgi_stream import StreamingAdapter

SET_UP = os.environ.get("LOGGING_APP")
if SET_UP == "basicConfig":
    logging.basicConfig(format="mine %(message)s", level=logging.DEBUG, stream=sys.stdout, force=True)
elif SET_UP == "dictConfig":
    logging.config.dictConfig(
        {
            "version": 1,
            "formatters": {"mine": {"format": "mine %(message)s"}},
            "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine", "stream": "ext://sys.stdout"}},
            "root": {"level": "DEBUG", "handlers": ["mine"]},
        }
    )
elif SET_UP == "formatter":
    for present in logging.getLogger().handlers:
        present.setFormatter(logging.Formatter("mine %(aws_request_id)s %(message)s"))

logger = logging.getLogger("shop")
# The environment as the app and the programs that it starts see it.
logger.warning("imported, telemetry descriptor %s", os.environ.get("_LAMBDA_TELEMETRY_LOG_FD"))


async def app(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    if path == "/levels":
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logger.log(level, "level %d", level)
    elif path == "/lines":
        logger.error("first\nsecond")
    elif path == "/prints":
        print("printed")
        print("printed to stderr", file=sys.stderr)
        logger.error("logged")
    elif path == "/prints-only":
        print("only printed")
    elif path == "/prints-a-part":
        print("part", end="")
    elif path == "/prints-and-waits":
        print("under way")
        await asyncio.Event().wait()
    elif path == "/threads":
        await asyncio.to_thread(logger.error, "in a thread with the context")
        plain = threading.Thread(target=logger.error, args=("in a plain thread",))
        plain.start()
        plain.join()
    elif path == "/caught":
        try:
            fail()
        except ValueError:
            logger.exception("caught")
    elif path == "/fails":
        await receive()
        fail()
    elif path == "/closes-the-descriptor":
        os.close(int(scope["query_string"]))
        logger.error("still logged")
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"done"})


def fail() -> None:
    raise ValueError("no such thing")


handler = StreamingAdapter(app, lifespan="off")
