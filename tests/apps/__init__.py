"""Functions for the tests, to be run by the real ``bootstrap``.

There nobody's time is over because a machine has much to do: the limits that hold where Lambda would kill are long.
"""

import os

if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    from asgi_stream.runtime import extension

    SHUTDOWN_LIMIT = extension.SHUTDOWN_LIMIT
    extension.REGISTRATION_LIMIT = extension.SHUTDOWN_LIMIT = 20.0
