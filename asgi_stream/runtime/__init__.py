"""Lambda's execution environment, seen from inside: the Runtime API client, the invocation loop, ``bootstrap``.

Knows nothing of ASGI: it drives whatever has ``startup``, ``invoke`` and ``shutdown``.
"""
