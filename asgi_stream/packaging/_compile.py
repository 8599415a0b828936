"""Run by an interpreter of the target's version: compiles a folder to bytecode that Python takes without a check.

The pycs have unchecked hashes (PEP 552): nothing is compared when a module is imported, neither time nor content. The
file names in them are those on Lambda. Sources only have a file that does not compile (a template, code for another
Python), and the test files in a folder for tests, which no package imports: of numpy, scipy and scikit-learn together
their bytecode would be 28 MB of the 250 MB that Lambda takes.
"""

import json
import os
import py_compile
import sys
from importlib.util import cache_from_source


def is_test(path: str) -> bool:
    """True for `tests/test_array.py`, not for `tests/helpers.py`: packages import such modules at run time."""
    *folders, name = path.split(os.sep)
    is_named_so = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    return is_named_so and not {"test", "tests"}.isdisjoint(folders)


def main(folder: str, mounted: str) -> None:
    """Compiles what is in `folder`, which will be `mounted` on Lambda; prints how many, and the names that failed."""
    compiled, failed = 0, []
    for parent, folders, names in os.walk(folder):
        folders.sort()  # one order, so that the same input gives the same bytes
        for name in sorted(names):
            path = os.path.join(parent, name)
            relative = os.path.relpath(path, folder)
            if name.endswith(".py") and not is_test(relative):
                try:
                    py_compile.compile(
                        path,
                        cache_from_source(path, optimization=""),
                        os.path.join(mounted, relative),
                        doraise=True,
                        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                    )
                    compiled += 1
                except Exception:
                    failed.append(relative)
    print(json.dumps({"compiled": compiled, "failed": failed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
