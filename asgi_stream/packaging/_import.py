"""Run by an interpreter of the target's version, without site-packages: imports a handler as the runtime does.

The package's own loader does it, the one that will do it on Lambda. Nothing is started: no lifespan, no invocation.
"""

import asyncio
import importlib
import json
import sys
import time


def main(report: str, handler: str, *folders: str) -> None:
    """Imports `handler`, or the runtime alone if it is empty; writes to the file `report` how that went."""
    sys.path[:0] = folders
    # As the runtime does: code at the top of a module may ask for the event loop.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    since = time.monotonic()
    importlib.import_module("asgi_stream.runtime.bootstrap")
    from asgi_stream.foreign import get, of_type
    from asgi_stream.runtime.loader import HandlerLoadError, load_handler

    result: dict[str, object] = {}
    try:
        if handler:
            load_handler(handler)
    except HandlerLoadError as error:
        told = error.report()
        name = get(error.__cause__, "name") if of_type(error.__cause__, ModuleNotFoundError) else None
        missing = name if of_type(name, str) else None
        result = {"error": f"{told.error_type}: {told.message}", "stack": told.stack, "missing": missing}
    result["seconds"] = time.monotonic() - since
    with open(report, "w", encoding="utf-8") as file:
        json.dump(result, file)
    asyncio.set_event_loop(None)
    loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
