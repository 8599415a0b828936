"""What `asgi-stream package` makes: a zip, a zip with a Python of its own, a layer, the context of a container image.

A package is built as a folder first, then checked and written:

    dependencies ──┐
    the app ───────┼──▶ folder ──▶ bytecode ──▶ entries ──▶ checks ──▶ zip or folder ──▶ import of the handler
    asgi-stream ───┤
    Python ────────┘

`entries` is the list of files, sorted by name. The import comes last: an app may write in its own folder then, and
nothing of that is packaged. All work is done in a hidden folder inside the output folder; the result takes its place by
a rename, when nothing can fail any more.

The same input gives the same bytes: names are sorted, times and permissions fixed, and no file carries the place where
it was made. The programs `_compile.py` and `_import.py` are run by an interpreter of the target's version, in a child
process.

Runs off Lambda only, and needs pip or uv, nothing else.
"""
