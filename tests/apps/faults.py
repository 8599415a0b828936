"""Functions for a platform that misbehaves, and apps that do: each answer carries the token of its event."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import sys
import threading
import types
from typing import TYPE_CHECKING, Any

from asgi_stream import StreamingAdapter
from asgi_stream.runtime import bootstrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

START: dict[str, Any] = {"type": "http.response.start", "status": 200}


def part(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def last(body: bytes = b"") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}


# Echoes


async def echo(scope: Any, receive: Any, send: Any) -> None:
    token = scope["path"].strip("/").encode()
    await send(START)
    if token.startswith(b"big"):
        for _ in range(256):  # 16 MiB: more than sockets keep
            await send(part(bytes(65_536)))
    await send(part(b"it is "))
    await send(last(token))


def echo_event(event: Any, context: Any) -> Any:
    if "error" in event:
        raise ValueError(event["error"])
    return event


echoes = StreamingAdapter(echo, lifespan="off", on_event=echo_event)


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Tries to send 200 MB, in messages of 64 KiB; says on stdout when ``send`` blocks, and waits for it."""
    print("pid", os.getpid(), flush=True)
    await send(START)
    for number in range(3_200):
        sending = asyncio.ensure_future(send(part(bytes(65_536))))
        # Each turn of the event loop asks the network; where the peer reads nothing, no number of them would do.
        for _ in range(1_000):
            if sending.done():
                break
            await asyncio.sleep(0)
        else:
            print("blocked", number, flush=True)
        await sending
    print("all", flush=True)
    await send(last())


sends_200_mb = StreamingAdapter(endless, lifespan="off")


# Apps that misbehave


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(last(b"hello"))


async def swallows_cancellation(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(part(b"some"))
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("not now", flush=True)


left_behind: list[Any] = []


async def leaves_tasks_behind(scope: Any, receive: Any, send: Any) -> None:
    if not left_behind:
        left_behind.extend(asyncio.create_task(asyncio.Event().wait()) for _ in range(10))
    await send(START)
    await send(last(b"%d at work" % sum(not task.done() for task in left_behind)))


async def blocks_the_loop(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    with open(scope["query_string"].decode(), "rb") as gate:  # noqa: ASYNC230 - on purpose
        gate.read()
    await send(last(b"late"))


async def stops_the_loop(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    await send(last(b"hello"))


async def closes_the_loop(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    asyncio.get_running_loop().close()


async def fills_stdout(scope: Any, receive: Any, send: Any) -> None:
    for _ in range(1_000):
        print("x" * 8_191, flush=True)
    await hello(scope, receive, send)


async def cancels_everything(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


async def swallows_that_it_cancels_everything(scope: Any, receive: Any, send: Any) -> None:
    try:
        await cancels_everything(scope, receive, send)
    except asyncio.CancelledError:
        await send(last(b"hello"))


async def cancels_everything_in_the_background(scope: Any, receive: Any, send: Any) -> None:
    def cancel_all() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    await hello(scope, receive, send)
    asyncio.get_running_loop().call_soon(cancel_all)


async def closes_the_standard_streams(scope: Any, receive: Any, send: Any) -> None:
    for number in (0, 1, 2):
        os.close(number)
    await send(START)
    await send(last(b"hello"))


async def prints(scope: Any, receive: Any, send: Any) -> None:
    """To the descriptors of the standard streams, whatever they are now."""
    printed = 0
    for number in (0, 1, 2):
        with contextlib.suppress(OSError):
            printed += os.write(number, b"POISON")
    await send(START)
    await send(last(b"printed %d bytes" % printed))


async def leaves_at_once(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(part(b"some"))
    os._exit(7)


async def kills_itself(scope: Any, receive: Any, send: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_code(pid: int) -> int:
    """Waits for a child."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def forks_and_leaves(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    if (pid := os.fork()) == 0:
        os._exit(3)
    await send(last(b"child: %d" % exit_code(pid)))


async def forks_and_both_go_on(scope: Any, receive: Any, send: Any) -> None:
    """The child answers as its parent does, in mid-stream."""
    await send(START)
    await send(part(b"one "))
    if (pid := os.fork()) == 0:
        try:
            await send(part(b"POISON"))
        except OSError:
            print("the child cannot send", flush=True)
            raise
    code = exit_code(pid)
    await send(last(b"child: %d" % code))


async def forks_before_it_answers(scope: Any, receive: Any, send: Any) -> None:
    pid = os.fork()
    if pid == 0:
        await send(START)
        await send(last(b"POISON"))
        return
    code = exit_code(pid)
    await send(START)
    await send(last(b"child: %d" % code))


async def forks_a_child_that_waits(scope: Any, receive: Any, send: Any) -> None:
    """The child gives the event loop a turn, and would answer after that."""
    await send(START)
    if (pid := os.fork()) == 0:
        await asyncio.sleep(0)
        os._exit(9)
    code = exit_code(pid)
    await send(last(b"child: %d" % code))


async def forks_in_a_thread(scope: Any, receive: Any, send: Any) -> None:
    def fork() -> int:
        if (pid := os.fork()) == 0:
            os._exit(4)
        return exit_code(pid)

    await send(START)
    await send(last(b"child: %d" % await asyncio.to_thread(fork)))


async def starts_processes(scope: Any, receive: Any, send: Any) -> None:
    """Each runs this process's main module again, by another name. The first way is the default since Python 3.14."""
    await send(START)
    for method in ("forkserver", "spawn"):
        context = multiprocessing.get_context(method)
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=theirs.send_bytes, args=(f"{method}: ".encode(),))  # type: ignore[attr-defined]
        child.start()
        theirs.close()
        await send(part(ours.recv_bytes()))
        child.join()
        await send(part(b"%d " % child.exitcode))
    await send(last())


async def fails_in_a_callback(scope: Any, receive: Any, send: Any) -> None:
    def fail() -> None:
        raise ValueError("in a callback")

    def leave() -> None:
        sys.exit(4)

    loop = asyncio.get_running_loop()
    loop.call_soon(fail)
    loop.call_soon(leave)
    await asyncio.sleep(0)
    await hello(scope, receive, send)


async def hangs_in_a_thread(scope: Any, receive: Any, send: Any) -> None:
    """A thread of the pool that nothing ends, and one of the app's own."""
    begun = threading.Barrier(3)

    def hang() -> None:
        begun.wait()
        threading.Event().wait()

    left_behind.append(asyncio.ensure_future(asyncio.to_thread(hang)))
    threading.Thread(target=hang).start()
    await asyncio.to_thread(begun.wait)
    await hello(scope, receive, send)


async def uses_threads(scope: Any, receive: Any, send: Any) -> None:
    # On a slow machine a thread takes its time to end, and does not hang.
    bootstrap.GRACE = 20.0  # type: ignore[attr-defined]
    pool = concurrent.futures.ThreadPoolExecutor()
    left_behind.append(pool)
    await asyncio.get_running_loop().run_in_executor(pool, int)
    atexit.register(print, "the end that Python gives", flush=True)
    await hello(scope, receive, send)


async def _never_ends() -> AsyncIterator[bytes]:
    try:
        yield b"hello"
    finally:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                print("not now", flush=True)


async def leaves_a_generator_open(scope: Any, receive: Any, send: Any) -> None:
    generator = _never_ends()
    left_behind.append(generator)
    await send(START)
    await send(last(await anext(generator)))


class Untold(Exception):
    """An exception that exits when it is asked for its text."""

    def __str__(self) -> str:
        sys.exit(5)

    __repr__ = __str__


async def raises_what_cannot_be_told(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(part(b"some"))
    raise Untold


async def raises_at_an_illegal_position(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    raise ValueError("told").with_traceback(types.TracebackType(None, sys._getframe(), 100_000, 1))


async def leaves_what_cannot_be_told(scope: Any, receive: Any, send: Any) -> None:
    """asyncio logs what a task raises that nothing awaits."""

    async def fail() -> None:
        raise Untold

    task = asyncio.create_task(fail())
    await asyncio.wait((task,))
    del task
    gc.collect()
    await hello(scope, receive, send)


async def logs_what_cannot_be_told(scope: Any, receive: Any, send: Any) -> None:
    logging.getLogger("app").error("%s", Untold())
    logging.getLogger("app").error("said", exc_info=Untold())
    await hello(scope, receive, send)


class LongBytes(bytes):
    def __len__(self) -> int:
        return 7_000_000


async def sends_bytes_of_another_length(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(part(LongBytes(b"whole")))
    await send(last())


class Broken:
    """Nothing of it can be read: not even by asyncio, for which it is a future, or not."""

    def __getattr__(self, name: str) -> Any:
        sys.exit(6)


async def replaces_stdout(scope: Any, receive: Any, send: Any) -> None:
    """By what has no more than Python flushes when it ends."""

    class Stdout(Broken):
        closed = False

        def flush(self) -> None: ...

    sys.stdout = Stdout()
    logging.getLogger("app").error("said")
    await hello(scope, receive, send)


class Nonsense:
    def __await__(self) -> Any:
        yield Broken()


async def awaits_nonsense(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await asyncio.sleep(0)
    await Nonsense()


async def awaits_nonsense_first(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(part(b"some"))
    await Nonsense()


APPS: dict[str, Callable[[Any, Any, Any], Awaitable[None]]] = {
    app.__name__.replace("_", "-"): app
    for app in (
        hello,
        swallows_cancellation,
        leaves_tasks_behind,
        blocks_the_loop,
        stops_the_loop,
        closes_the_loop,
        fills_stdout,
        cancels_everything,
        swallows_that_it_cancels_everything,
        cancels_everything_in_the_background,
        closes_the_standard_streams,
        prints,
        leaves_at_once,
        kills_itself,
        forks_and_leaves,
        forks_and_both_go_on,
        forks_before_it_answers,
        forks_a_child_that_waits,
        forks_in_a_thread,
        starts_processes,
        fails_in_a_callback,
        hangs_in_a_thread,
        uses_threads,
        leaves_a_generator_open,
        raises_what_cannot_be_told,
        raises_at_an_illegal_position,
        leaves_what_cannot_be_told,
        logs_what_cannot_be_told,
        sends_bytes_of_another_length,
        replaces_stdout,
        awaits_nonsense,
        awaits_nonsense_first,
    )
}


async def misbehaving(scope: Any, receive: Any, send: Any) -> None:
    await APPS[scope["path"].strip("/")](scope, receive, send)


handler = StreamingAdapter(misbehaving, lifespan="off")
