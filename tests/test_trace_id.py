"""The environment variable of the X-Ray trace, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from asgi_stream.runtime import trace

COUNT = 20_000  # values: by os.environ alone they would leave 2.5 MB

PROGRAM = f"""
import json, os, re, subprocess, sys
from asgi_stream.runtime import trace

def seen():
    child = [sys.executable, "-c", "import os; print(os.environ.get('_X_AMZN_TRACE_ID'))"]
    return [os.environ.get(trace.NAME), subprocess.run(child, capture_output=True, text=True).stdout.rstrip()]

def resident():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmRSS:\\s+(\\d+)", status.read())[1])

def setting(value):
    trace.set_trace_id(value)
    return seen()

facts = dict(first=setting("Root=first"))
for number in range(trace.PLAIN):
    trace.set_trace_id(f"Root={{number}}")
facts["after_many"] = seen()
facts["shorter"] = setting("R")
facts["removed"] = setting(None)
facts["again"] = setting("Root=again")
os.environ[trace.NAME] = "of the app"
facts["after_the_app"] = setting("Root=after")
facts["too_long"] = setting("x" * trace.MAX_LENGTH + "y")
facts["after_too_long"] = setting("Root=last")
if sys.platform == "linux":
    before = resident()
    for number in range({COUNT}):
        trace.set_trace_id(f"Root={{number:080d}}")
    facts["grown"] = resident() - before
print(json.dumps(facts))
"""


def test_the_variable_is_the_invocations_and_leaves_no_memory_behind() -> None:
    """For ``os.environ`` and for a child process."""
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    facts = json.loads(run.stdout)
    grown = facts.pop("grown", 0)
    expected = {
        "first": "Root=first",
        "after_many": f"Root={trace.PLAIN - 1}",
        "shorter": "R",
        "again": "Root=again",
        "after_the_app": "Root=after",
        "too_long": "x" * 1024 + "y",
        "after_too_long": "Root=last",
    }
    assert facts == {name: [value, value] for name, value in expected.items()} | {"removed": [None, "None"]}
    assert grown < 512  # KiB


@pytest.mark.parametrize("before", [0, trace.PLAIN], ids=["plain", "by putenv"])
@pytest.mark.parametrize("value", ["Root=\0", "\0", "Root=\xa0"], ids=ascii)
def test_a_value_that_no_variable_can_have_ends_nothing(value: str, before: int) -> None:
    """Where the locale's encoding is ASCII."""
    program = f"""
import os
from asgi_stream.runtime import trace

for number in range({before}):
    trace.set_trace_id(f"Root={{number}}")
trace.set_trace_id("Root=1")
trace.set_trace_id({value!a})
print(os.environ.get(trace.NAME))
trace.set_trace_id("Root=2")
print(os.environ.get(trace.NAME))
"""
    ascii_ = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ascii_)
    assert run.stdout == "None\nRoot=2\n", run.stderr


def test_the_environment_outlives_the_module() -> None:
    """C code may look at it when Python has taken itself apart: no freed memory stands in it."""
    program = """
import ctypes, gc
from asgi_stream.runtime import trace

for number in range(trace.PLAIN + 1):
    trace.set_trace_id(f"Root={number}")
assert trace._buffer is not None
trace._buffer = None
gc.collect()
kept = [bytes(trace.MAX_LENGTH) for _ in range(1000)] + [ctypes.create_string_buffer(n) for n in range(900, 1200)]
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(getenv(trace.NAME.encode()))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == f"b'Root={trace.PLAIN}'\n"


@pytest.mark.parametrize("missing", ["ctypes", "_ctypes"])
def test_a_python_without_ctypes(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None\n{PROGRAM.partition('if sys.platform')[0]}"
    run = subprocess.run([sys.executable, "-c", program + "print(facts['after_many'])"], capture_output=True, text=True)
    last = f"Root={trace.PLAIN - 1}"
    assert run.stdout == f"{[last, last]}\n", run.stderr
