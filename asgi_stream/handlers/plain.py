"""Plain Lambda handlers, ``handler(event, context)``: one answer, which the function returns.

As on AWS's own Python runtime the answer is JSON, and bytes are sent as they are. A function that is not ``async`` runs
in a thread: it may use ``asyncio.run``, block for as long as it likes, and on Managed Instances run beside others. A
function that calls an adapter streams (:mod:`asgi_stream.calls`).
"""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import TYPE_CHECKING, Any

from asgi_stream.calls import Calls
from asgi_stream.foreign import of_type, plain_bytes, text, type_name
from asgi_stream.handlers.base import BaseHandler, is_a

if TYPE_CHECKING:
    from collections.abc import Callable

    from asgi_stream.sinks import Sink

__all__ = ["PlainHandler"]


# Python writes no int of more digits (sys.set_int_max_str_digits).
MAX_DIGITS = 4_300


class PlainHandler(BaseHandler):
    """A handler that answers each event in one piece."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self._function = function
        self._is_async = is_a(function, inspect.iscoroutinefunction)

    async def invoke(self, event: Any, context: Any, sink: Sink) -> None:
        """Answers one event. Raises what the function raises, and TypeError for what is no JSON."""
        calls = Calls(self._environment, sink, context)
        try:
            if self._is_async:
                result = await self._function(event, context)
            else:
                result = await self._run_in_thread(calls, event, context)
            if inspect.isawaitable(result):  # a call of an adapter; or a decorator hides that its function is async
                result = await result
            if await calls.finish(result):
                return
        finally:
            calls.close()
        if of_type(result, bytes):
            await sink.reply(plain_bytes(result), "application/unknown")
        else:
            await sink.reply(to_json(result))

    async def _run_in_thread(self, calls: Calls, event: Any, context: Any) -> Any:
        thread = self.threads.start(self._function, event, context)
        try:
            return await self.threads.result(thread)
        except asyncio.CancelledError:
            if await calls.cancel():
                # The function goes on where it called its adapter, and may have something to close.
                await asyncio.wait((asyncio.wrap_future(thread),))
            if calls.is_whole:  # an event stream that its deadline has closed
                return await self.threads.result(thread)
            raise


def to_json(result: object) -> bytes:
    """Returns an answer as JSON. Raises TypeError."""
    try:
        answer = json.dumps(result, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_number)
    except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TypeError(f"the handler returned what cannot be said in JSON: {text(error)}") from error
    # Half of a surrogate pair, which UTF-8 cannot say, becomes its JSON escape.
    return answer.encode("utf-8", "backslashreplace")


def _number(value: object) -> int | float:
    """Decimals, which boto3 returns for DynamoDB's numbers; AWS's runtime takes them too."""
    import decimal

    if isinstance(value, decimal.Decimal):
        # No int of a number of billions of digits, which takes minutes: as a float it is infinite, and refused.
        is_whole = value.adjusted() < MAX_DIGITS and value == value.to_integral_value()
        return int(value) if is_whole else float(value)
    raise TypeError(f"{type_name(value)} is no type of JSON")
