"""Functions for the tests, to be run by the real ``bootstrap``.

There the extension's registration and the shutdown have 20 s, for a machine that has much to do.
"""

import os

if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    from asgi_stream.runtime import extension

    SHUTDOWN_LIMIT = extension.SHUTDOWN_LIMIT
    extension.REGISTRATION_LIMIT = extension.SHUTDOWN_LIMIT = 20.0
