"""Lambda's limits that more than one module needs, and the command line without the extra installed.

Source: the Lambda developer guide, "Lambda quotas" and "Understanding the Lambda execution environment lifecycle".
"""

from __future__ import annotations

# A function's timeout: at most this, and 3 s where none is set. Seconds.
LONGEST_TIMEOUT = 900.0
# From the start of the process to its first poll; after it Lambda starts init over, in the first invocation. Seconds.
INIT_LIMIT = 10.0
# What a runtime with an internal extension has between SIGTERM and SIGKILL. Seconds.
SHUTDOWN_LIMIT = 0.5
