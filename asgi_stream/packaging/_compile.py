"""Run by an interpreter of the target's version: compiles a folder to bytecode that Python takes without a check.

The pycs have unchecked hashes (PEP 552): nothing is compared when a module is imported, neither time nor content. The
file names in them are those on Lambda. A file that does not compile (a template, code for another Python) keeps its
source only.
"""

import json
import os
import py_compile
import sys
from importlib.util import cache_from_source


def main(folder: str, mounted: str) -> None:
    """Compiles what is in `folder`, which will be `mounted` on Lambda; prints how many, and the names that failed."""
    compiled, failed = 0, []
    for parent, folders, names in os.walk(folder):
        folders.sort()  # one order, so that the same input gives the same bytes
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                relative = os.path.relpath(path, folder)
                try:
                    py_compile.compile(
                        path,
                        cache_from_source(path, optimization=""),
                        os.path.join(mounted, relative),
                        doraise=True,
                        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                    )
                    compiled += 1
                except (py_compile.PyCompileError, ValueError, RecursionError):
                    failed.append(relative)
    print(json.dumps({"compiled": compiled, "failed": failed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
