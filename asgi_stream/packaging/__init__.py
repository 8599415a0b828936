"""What `asgi-stream package` makes: a zip, a zip with a Python of its own, a layer, the context of a container image.

A package is built as a folder first, then checked, then written:

    dependencies ──┐
    the app ───────┼──▶ folder ──▶ bytecode ──▶ entries ──▶ checks, import of the handler ──▶ zip or folder
    asgi-stream ───┤
    Python ────────┘

`entries` is the list of files, sorted by name: what a check does afterwards cannot change what is written. All work is
done in a hidden folder inside the output folder; the result takes its place by a rename, when nothing can fail any
more.

The same input gives the same bytes: names are sorted, times and permissions fixed, and no file carries the place where
it was made. The programs `_compile.py` and `_import.py` are run by an interpreter of the target's version, in a child
process.

Runs off Lambda only, and needs pip or uv, nothing else.
"""
