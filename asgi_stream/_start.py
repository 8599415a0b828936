"""Started as a script by ``bootstrap``, never imported: puts the function's folders on the path and runs the runtime.

The order is that of AWS's managed Python: the function's own code, layers, then everything else.
"""

import gc
import os
import sys

if sys.version_info < (3, 11):
    sys.exit("asgi-stream needs Python 3.11 or newer; %s is %s" % (sys.executable, sys.version.split()[0]))  # noqa: UP031

if __name__ == "__main__":  # and not in a child of multiprocessing, which runs the main module of its parent again
    # No automatic garbage collection until the handler has started: imports leave few unreachable objects, and the
    # collector looks at all objects again and again. Saves 4 ms of 59 for our imports, and 13 of 236 with FastAPI (CPU
    # time, Python 3.11). Not `gc.disable()`: an app that calls that means it.
    thresholds = gc.get_threshold()
    gc.set_threshold(0)

    def started() -> None:
        gc.freeze()  # later collections skip what the imports have made
        if gc.get_threshold()[0] == 0:  # else the app has set its own
            gc.set_threshold(*thresholds)

    package_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    task_root = os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd()
    layer = f"/opt/python/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    # The working directory is the task root, but for container images that have set another one.
    first = list(dict.fromkeys([task_root, os.getcwd(), *filter(os.path.isdir, (layer, "/opt/python"))]))
    # sys.path[0] is the folder of this file, the inside of a package: not a place to import from.
    path = first + [folder for folder in sys.path[1:] if folder not in first]
    # What AWS's runtime brings along (boto3, up to Python 3.11), for a function that has not brought its own.
    path += [folder for folder in [os.environ.get("LAMBDA_RUNTIME_DIR")] if folder and folder not in path]

    def run() -> None:
        # The object of this frame is as large as the frame, and stays: it is made here, not when somebody first looks
        # at the stack, where it would look like a leak.
        sys._getframe()  # noqa: SLF001
        # This package, and not another copy that may stand on the path before it.
        sys.path[:] = [package_root, *path]

        from asgi_stream.runtime.bootstrap import leave, main

        sys.path[:] = path if package_root in path else [*path, package_root]
        leave(main(sys.argv[1:], started=started))

    # CPython keeps the frames of calls in chunks of 16 KiB and returns one to the system as soon as it is empty. Calls
    # back and forth over a chunk's end, as in deep imports (1,270 times for FastAPI), take 7 of 228 ms (CPU time). A
    # frame that asks for 125 KiB, of which nothing is touched, gets a chunk of 256, and all that it calls the rest.
    run.__code__ = run.__code__.replace(co_stacksize=16_000)
    run()
